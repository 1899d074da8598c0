"""Rewards on frozen features of HH-RLHF's pairs, shared by experiments on several objectives."""
