"""Policies and rewards over listed options: features of a frozen trunk, heads, and their folders."""
