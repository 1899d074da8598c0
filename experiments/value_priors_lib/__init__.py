"""Parts of the experiment on value priors and budgets of samples."""
