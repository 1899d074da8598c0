"""Raters compare segments, or the options of a decision; annotations come out."""

from pluralign.annotate.agreement import Agreement, Kappa, agreement
from pluralign.annotate.annotator import AnnotationReport, ComparisonSettings, annotate, annotate_comparisons
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.human import HumanRater, export_sheet, import_sheet
from pluralign.annotate.judge import Judge, ReplyJudge, both_orders_agree, mean_of_orders
from pluralign.annotate.label_agreement import LabelAgreement, ShareRight, label_agreement
from pluralign.annotate.options import compare_options
from pluralign.annotate.oracle import Noise, Oracle, oracle
from pluralign.annotate.rater import Rater, Rating

__all__ = [
    "Agreement",
    "AnnotationReport",
    "ComparisonSettings",
    "HumanRater",
    "Judge",
    "Kappa",
    "LabelAgreement",
    "Noise",
    "Oracle",
    "Rater",
    "Rating",
    "ReplyJudge",
    "ShareRight",
    "agreement",
    "annotate",
    "annotate_comparisons",
    "both_orders_agree",
    "compare_options",
    "export_sheet",
    "import_sheet",
    "label_agreement",
    "make_comparisons",
    "mean_of_orders",
    "oracle",
]
