"""Compilation: the parsed scenes become a program."""
