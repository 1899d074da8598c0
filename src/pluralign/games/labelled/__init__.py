"""Stories with a rater's labels of their options."""
