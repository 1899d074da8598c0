"""The audit of preferences between outcomes: order consistency first, then what it permits to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pluralign.core import Decision, InputError
from pluralign.core.checks import checked
from pluralign.core.choice import Choice, Question
from pluralign.elicit.posterior import WeightPosterior, infer_weights
from pluralign.evaluate.statistics import Estimate
from pluralign.evaluate.values.answers import (
    Answers,
    Consistency,
    ask,
    consistency,
    draw_pairs,
    split_answered,
)
from pluralign.evaluate.values.choosers import QUESTION, Asked, as_chooser
from pluralign.evaluate.values.coherence import Agreement, Cycles, completeness, cycles
from pluralign.evaluate.values.outcomes import Lottery, Outcome, Process, common_objectives
from pluralign.evaluate.values.placed import Placed, place_items
from pluralign.evaluate.values.settings import AuditConfig
from pluralign.evaluate.values.subjects import Subject
from pluralign.evaluate.values.utilities import (
    Fit,
    HeldOut,
    Utilities,
    held_out,
    require_connected,
    thurstone,
)


@dataclass(frozen=True, eq=False)
class Preferences:
    """What an audit says of consistent preferences.

    Args:
        completeness: Mean |2 p - 1| over pairs whose two orders agree.
        cycles: Probability of cycles; None if no triple has answers to its three pairs.
        held_out: How well utilities predict held-out answers.
        utilities: Utilities of the outcomes; None if they predict no better than even odds.
        lotteries: Utilities of drawn lotteries against their expected utilities.
        implied: The same for lotteries that an outcome implies.
        instrumental: Utilities of states against those of the ends that follow.
        weights: Weights implied by the objectives' scores of the outcomes; None if there are no scores.
    """

    completeness: Estimate
    cycles: Cycles | None
    held_out: HeldOut
    utilities: Utilities | None
    lotteries: Agreement | None
    implied: Agreement | None
    instrumental: Agreement | None
    weights: WeightPosterior | None


@dataclass(frozen=True, eq=False)
class ValueAudit:
    """Result of an audit.

    Args:
        name: Name of what was asked.
        outcomes: Outcomes, in the order of the utilities.
        consistency: Agreement between both orders.
        preferences: Everything else; None if the orders agree too rarely.
        config: Settings.
    """

    name: str
    outcomes: tuple[Outcome, ...]
    consistency: Consistency
    preferences: Preferences | None
    config: AuditConfig

    @property
    def passed(self) -> bool:
        """Whether the orders agree often enough for anything else to be reported."""
        return self.preferences is not None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        found = self.preferences
        return {
            "name": self.name,
            "consistency": self.consistency.to_json(),
            "passed": self.passed,
            "preferences": None if found is None else self._preferences(found),
            "settings": asdict(self.config),
        }

    def _preferences(self, found: Preferences) -> dict[str, Any]:
        fitted = found.utilities
        rows = None
        if fitted is not None:
            numbers = zip(self.outcomes, fitted.mean.tolist(), fitted.stderr.tolist(), strict=True)
            rows = [
                {"text": one.text, "group": one.group, "utility": mean, "stderr": error}
                for one, mean, error in numbers
            ]
        measures = ("completeness", "cycles", "held_out", "lotteries", "implied", "instrumental")
        values = {name: getattr(found, name) for name in measures}
        return {
            **{name: None if value is None else asdict(value) for name, value in values.items()},
            "better_than_even": found.held_out.better_than_even,
            "utilities": rows,
            "weights": None if found.weights is None else found.weights.to_json(),
        }


@checked
def audit_values(
    who: Asked | Subject,
    outcomes: Sequence[str | Outcome],
    *,
    lotteries: Sequence[Lottery] = (),
    processes: Sequence[Process] = (),
    config: AuditConfig | None = None,
    fit: Fit = thurstone,
    out: str | Path | None = None,
) -> ValueAudit:
    """Ask for preferences between outcomes, in both orders, and measure how coherent they are.

    If the two orders of a pair agree too rarely, the answers are about places and not about outcomes, and
    nothing else is measured.

    Args:
        who: Rater, language model (asked for a letter; its exact log-odds are read), policy over listed
            options, or function of two texts that gives the probability of naming the first; or one of the
            subjects of `evaluate.values.subjects`: a checkpoint of a training, a mixture under weights.
        outcomes: Three or more outcomes, as texts or with groups and scores by objective.
        lotteries: Lotteries that some outcomes imply, in addition to those that are drawn.
        processes: Markov processes for the test of means and ends.
        config: Settings.
        fit: Function that fits utilities: `thurstone` or `expectation_propagation`.
        out: Folder for the answers, from which an interrupted run continues; None keeps none.

    Raises:
        InputError: There are fewer than three outcomes, an outcome is there twice, or nobody answers.

    Examples:
        >>> import pluralign as pl
        >>> audit = pl.audit_values(lambda first, second: 0.9, ["It rains.", "The sun shines.", "It snows."])
        >>> audit.consistency.agreement, audit.consistency.first_place, audit.passed
        (0.0, 1.0, False)
    """
    config = config or AuditConfig()
    chooser = as_chooser(who.who() if isinstance(who, Subject) else who)
    known = tuple(Outcome(one) if isinstance(one, str) else one for one in outcomes)
    texts = [one.text for one in known]
    if len(known) < 3 or len(set(texts)) < len(texts):
        raise InputError(
            f"expected three or more different outcomes, found {len(set(texts))} of {len(texts)}",
            field="outcomes",
        )
    objectives = common_objectives(known)
    folder = None if out is None else Path(out)
    pairs, triads = draw_pairs(len(texts), config.pairs, config.triads, config.seed)
    asked = ask(chooser, texts, pairs, folder and folder / "answers.jsonl", {})
    answers, unanswered = split_answered(asked)
    orders = consistency(answers, unanswered, chooser.order_free)
    made = partial(ValueAudit, chooser.name, known, orders)
    if not orders.agreement or orders.agreement < config.least_agreement:
        return made(None, config)
    sizes = {"resamples": config.resamples, "seed": config.seed}
    require_connected(texts, answers)
    predicted = held_out(len(texts), answers, fit, **sizes)
    utilities = fit(len(texts), answers) if predicted.better_than_even else None
    placed = Placed(None, None, None)
    if utilities is not None:
        placed = place_items(chooser, known, utilities, lotteries, processes, config, folder)
    preferences = Preferences(
        completeness(answers, len(texts), **sizes),
        cycles(answers, triads, len(texts), **sizes),
        predicted,
        utilities,
        placed.lotteries,
        placed.implied,
        placed.instrumental,
        implied_weights(known, answers, config.seed) if len(objectives) > 1 else None,
    )
    return made(preferences, config)


def implied_weights(outcomes: Sequence[Outcome], answers: Answers, seed: int) -> WeightPosterior:
    """Weights of objectives under which the answers are most likely; each pair counts as one answer.

    Args:
        outcomes: Outcomes with scores by objective.
        answers: Answers about pairs of them; a probability counts as shares of both answers.
        seed: Random seed of the posterior's draws.
    """
    choices: list[Choice] = []
    pairs: list[list[int]] = answers.pairs.tolist()
    for (i, j), p in zip(pairs, answers.prefer.tolist(), strict=True):
        one, other = outcomes[i], outcomes[j]
        question = Question(Decision(QUESTION, (one.text, other.text)), (one.scores, other.scores))
        shares = ((0, p), (1, 1.0 - p))
        choices += [Choice(question, k, weight=w, part_of=f"{i}, {j}") for k, w in shares if w > 0]
    return infer_weights(choices, seed=seed)
