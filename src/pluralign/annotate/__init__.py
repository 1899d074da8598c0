"""Annotation: raters compare segments of trajectories, or the options of decisions."""

from pluralign.annotate.agreement import Agreement, Kappa, agreement
from pluralign.annotate.annotator import (
    AnnotationReport,
    ComparisonSettings,
    annotate,
    annotate_comparisons,
    recorded_objective,
)
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.human import HumanRater, export_sheet, import_sheet
from pluralign.annotate.judge import Judge, ReplyJudge, both_orders_agree, mean_of_orders
from pluralign.annotate.label_agreement import LabelAgreement, ShareRight, label_agreement
from pluralign.annotate.open import DecideName, open_rater
from pluralign.annotate.options import compare_options
from pluralign.annotate.oracle import Noise, Oracle, oracle
from pluralign.annotate.rater import Rater, Rating
from pluralign.annotate.reward_rater import RewardRater

__all__ = [
    "Agreement",
    "AnnotationReport",
    "ComparisonSettings",
    "DecideName",
    "HumanRater",
    "Judge",
    "Kappa",
    "LabelAgreement",
    "Noise",
    "Oracle",
    "Rater",
    "Rating",
    "ReplyJudge",
    "RewardRater",
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
    "open_rater",
    "oracle",
    "recorded_objective",
]
