"""A sweep of texts as ``report.json``, ``report.html`` and a picture."""
