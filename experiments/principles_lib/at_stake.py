"""Is a rule at stake in a decision? Probes on frozen features, and the model asked, against the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from console import say
from moralchoice_lib.data import OBJECTIVES, RULES, Case
from scipy.stats import rankdata
from torch.nn.functional import binary_cross_entropy_with_logits

from pluralign.core import Decision
from pluralign.core.arrays import FloatArray
from pluralign.lm.language_model import LanguageModel
from pluralign.lm.tensors import seeded
from pluralign.options.features import FeatureStore
from pluralign.options.option_policy import OptionHead
from pluralign.steer.relevance import JudgedRelevance, judged_probabilities
from principles_lib.settings import Settings, folds_of

PRINCIPLES = [OBJECTIVES[rule].description for rule in RULES]
_BATCH = 512
OWN, SHARED, LEFT_OUT = "probe of the rule", "one probe for all rules", "one probe, rule left out"


def described(case: Case) -> str:
    """A decision as a prompt."""
    return f"{case.decision.prompt}\n\nPossible acts: {' '.join(case.decision.options)}"


def decision_of(case: Case) -> Decision:
    """The prompt with all principles as completions, whose features the probes read."""
    return Decision(described(case), tuple(PRINCIPLES))


def labels_of(cases: Sequence[Case]) -> FloatArray:
    """1 where an act violates the rule, 0 where none does, NaN if it is open; shape (cases, rules)."""

    def label(pair: tuple[float | None, float | None]) -> float:
        return 1.0 if 1.0 in pair else 0.0 if None not in pair else float("nan")

    return np.array([[label(case.flags[rule]) for rule in RULES] for case in cases])


def measure(
    cases: Sequence[Case], store: FeatureStore, model: LanguageModel, settings: Settings
) -> dict[str, Any]:
    """Areas under the curve by rule, and effects of the factors, for the probes and the judge."""
    labels = labels_of(cases)
    features = np.stack([entry.features for entry in store.get([decision_of(case) for case in cases])])
    scores = {kind: np.zeros((settings.seeds, *labels.shape)) for kind in (OWN, SHARED, LEFT_OUT)}
    for seed in range(settings.seeds):
        folds = np.array(folds_of(cases, settings, seed))
        for fold in range(settings.folds):
            train, test = folds != fold, folds == fold
            scores[SHARED][seed, test] = _probe(
                features, labels, train, test, range(len(RULES)), settings, seed, 64
            )
            for column in range(len(RULES)):
                others = [place for place in range(len(RULES)) if place != column]
                own = _probe(features, labels, train, test, [column], settings, seed, 0)
                left = _probe(features, labels, train, test, others, settings, seed, 64)
                scores[OWN][seed, test, column] = own[:, column]
                scores[LEFT_OUT][seed, test, column] = left[:, column]
        say(
            f"  seed {seed}: "
            + ", ".join(f"{k} {_mean_area(s[seed], labels):.3f}" for k, s in scores.items())
        )
    report = {
        kind: {
            **_areas(own.mean(axis=0), labels),
            "by seed": [_mean_area(one, labels) for one in own],
            "lowered": _lowered(1 / (1 + np.exp(-own)), labels),
        }
        for kind, own in scores.items()
    }
    return {"base rate": _base_rates(labels), **report, "judge": _judge(cases, labels, model, settings)}


def _judge(
    cases: Sequence[Case], labels: FloatArray, model: LanguageModel, settings: Settings
) -> dict[str, Any]:
    some = slice(0, settings.judged)
    judge = JudgedRelevance(model)
    asked, opposite = judge.log_odds([described(case) for case in cases[some]], PRINCIPLES)
    found = judged_probabilities(asked, opposite)
    return {
        "decisions": len(cases[some]),
        **_areas((asked + opposite) / 2, labels[some]),
        "first question alone": _mean_area(asked, labels[some]),
        "opposite question alone": _mean_area(opposite, labels[some]),
        "contradictions": float((found == 0.5).mean()),
        "lowered": _lowered(found[None], labels[some]),
    }


def _probe(
    features: FloatArray, labels: FloatArray, train: Any, test: Any, columns: Sequence[int],
    settings: Settings, seed: int, hidden: int,
) -> FloatArray:  # fmt: skip
    """Logits of all rules in the test decisions, by a head trained on these rules' labels of the others."""
    given, wanted = features[train][:, columns], labels[train][:, columns]
    known = ~np.isnan(wanted)
    inputs = torch.as_tensor(given[known]).float()
    targets = torch.as_tensor(wanted[known]).float()
    with seeded(seed):
        head = OptionHead(features.shape[-1], hidden)
    head.fit_standardisation(inputs)
    # Steps of Adam are too small to find the base rate in time.
    torch.nn.init.constant_(head.outer.bias, float(torch.logit(targets.mean(), eps=1e-3)))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1.0)
    rng = np.random.default_rng(seed)
    for _ in range(settings.steps):
        rows = torch.as_tensor(rng.choice(len(inputs), min(_BATCH, len(inputs)), replace=False))
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(head(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return head(torch.as_tensor(features[test]).float()).double().numpy()


def area(scores: FloatArray, labels: FloatArray) -> float:
    """Probability that a score with label 1 is above one with label 0, ties half; NaN without both."""
    known = ~np.isnan(labels)
    ranks, positive = rankdata(scores[known]), labels[known] == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return (
        float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
        if ones and zeros
        else float("nan")
    )


def _mean_area(scores: FloatArray, labels: FloatArray) -> float:
    areas = np.array([area(scores[:, k], labels[:, k]) for k in range(labels.shape[1])])
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if len(known) else float("nan")


def _areas(scores: FloatArray, labels: FloatArray) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(labels), size=len(labels)) for _ in range(500)]
    low, high = np.nanquantile([_mean_area(scores[rows], labels[rows]) for rows in drawn], [0.025, 0.975])
    by_rule = {rule: area(scores[:, k], labels[:, k]) for k, rule in enumerate(RULES)}
    return {"area": by_rule, "mean area": _mean_area(scores, labels), "low": float(low), "high": float(high)}


def _lowered(probabilities: FloatArray, labels: FloatArray) -> Mapping[str, float]:
    """Share of rules whose weight a factor would lower, where they are at stake and where they are not."""
    lowered = probabilities < 0.5
    return {
        name: float(lowered[:, labels == value].mean())
        for name, value in (("at stake", 1.0), ("not at stake", 0.0))
    }


def _base_rates(labels: FloatArray) -> dict[str, float]:
    return {rule: float(np.nanmean(labels[:, k])) for k, rule in enumerate(RULES)}
