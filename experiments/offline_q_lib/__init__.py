"""Parts of the experiment on values learned offline."""
