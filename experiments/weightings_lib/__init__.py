"""Parts of the experiment on weightings, targets and tails."""
