"""Parts of the experiment on a judge of options."""
