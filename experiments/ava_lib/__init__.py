"""Parts of experiments/ava_table1.py."""
