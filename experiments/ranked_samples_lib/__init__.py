"""Parts of the experiment on ranked samples."""
