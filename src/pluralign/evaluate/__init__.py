"""Returns and harms of policies, their intervals, and how close they come to the exact Pareto front."""
