"""Raters compare segments; annotations come out."""

from pluralign.annotate.agreement import Agreement, Kappa, agreement
from pluralign.annotate.annotator import AnnotationReport, ComparisonSettings, annotate, annotate_comparisons
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.human import HumanRater, export_sheet, import_sheet
from pluralign.annotate.judge import Judge, ReplyJudge, both_orders_agree, mean_of_orders
from pluralign.annotate.oracle import Noise, Oracle, oracle
from pluralign.annotate.rater import Rater, Rating

__all__ = [
    "Agreement",
    "AnnotationReport",
    "ComparisonSettings",
    "HumanRater",
    "Judge",
    "Kappa",
    "Noise",
    "Oracle",
    "Rater",
    "Rating",
    "ReplyJudge",
    "agreement",
    "annotate",
    "annotate_comparisons",
    "both_orders_agree",
    "export_sheet",
    "import_sheet",
    "make_comparisons",
    "mean_of_orders",
    "oracle",
]
