"""Reports of sweeps over prompts: ``report.json``, ``report.html`` and a figure."""
