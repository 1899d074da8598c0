"""Reports of runs on stories: ``report.json`` and ``report.html``."""
