"""Values of raters and models: preferences between outcomes, stances, and how both move."""
