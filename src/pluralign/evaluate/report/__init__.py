"""A run's figures as ``report.json`` and ``report.html``."""

from pluralign.evaluate.report.model import Kind, Report, WeightPoint, read_report
from pluralign.evaluate.report.page import write_picture, write_report

__all__ = ["Kind", "Report", "WeightPoint", "read_report", "write_picture", "write_report"]
