"""Measurement of policies and reward models: returns, harms, Pareto fronts, sweeps, reports."""
