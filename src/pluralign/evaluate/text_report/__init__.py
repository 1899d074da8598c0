"""A sweep of texts as ``report.json``, ``report.html`` and a picture."""

from pluralign.evaluate.text_report.model import TextReport
from pluralign.evaluate.text_report.page import write_text_picture, write_text_report

__all__ = ["TextReport", "write_text_picture", "write_text_report"]
