"""Parts of the experiment on helpful and harmless answers."""
