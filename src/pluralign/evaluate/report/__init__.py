"""A run's figures as ``report.json`` and ``report.html``."""
