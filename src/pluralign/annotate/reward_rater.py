"""A reward model as a rater: the text or segment with the higher reward is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pluralign.annotate.rater import Rating
from pluralign.core import Comparison, Decision, InputError, Objective, Segment
from pluralign.core.preference import Preference
from pluralign.rewards.reward import template_of

if TYPE_CHECKING:
    from pluralign.core.messages import Template
    from pluralign.rewards.reward import Reward

Text = tuple[str, str]
"""Prompt and completion."""

Words = Callable[[str, str], Text]
"""Function from a decision's prompt and one of its options to the prompt and completion to score."""


def as_written(prompt: str, option: str) -> Text:
    """The prompt and the option without changes."""
    return prompt, option


@dataclass(frozen=True)
class _Score:
    mean: float
    variance: float


class RewardRater:
    """Rates texts, options and segments by their rewards.

    Each text is scored by itself, so the order of a comparison has no effect; a text that occurs in several
    comparisons is scored once. If both segments have one step, their options' rewards are compared. If either
    has several, each segment's value is the sum over its steps of the reward of the option taken, minus the
    mean over the decision's options: a reward learned from preferences has no origin that is common to
    different prompts, and without the mean longer segments would differ by it.

    Args:
        scorer: Reward model, discriminator, ensemble, or any other `Reward`.
        batch: Number of comparisons rated at once.
        tie_sigmas: Largest difference that is a tie, in standard deviations of the difference (the two
            rewards' errors are treated as independent). With 0, and for rewards without uncertainty, only
            equal rewards are a tie.
        words: Wording of an option for the reward model, for one that was trained on texts of another form.
        card: Provenance of the reward model, for the header of annotations.

    Raises:
        InputError: ``tie_sigmas`` is negative or not finite.
    """

    def __init__(
        self, scorer: Reward, *, batch: int = 32, tie_sigmas: float = 0.0, words: Words = as_written,
        card: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if not 0 <= tie_sigmas < math.inf:
            raise InputError(f"expected a number from 0 up, found {tie_sigmas}", field="tie_sigmas")
        self._scorer, self.batch = scorer, batch
        self._tie_sigmas, self._words, self._card = tie_sigmas, words, dict(card or {})
        self._known: dict[Text, _Score] = {}
        self.quoted = False
        """Whether the texts were made by the model's own template, which quotes control tokens."""

    @property
    def name(self) -> str:
        """``reward:NAME``."""
        return f"reward:{self._scorer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        return {
            "reads": "reward",
            **({"tie_sigmas": self._tie_sigmas} if self._tie_sigmas else {}),
            **({"words": getattr(self._words, "__name__", repr(self._words))} if self._reworded else {}),
            **({"card": self._card} if self._card else {}),
        }

    @property
    def _reworded(self) -> bool:
        return self._words is not as_written

    @property
    def template(self) -> Template:
        """Template by which the reward model reads messages and texts."""
        return template_of(self._scorer)

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains both ``rewards`` and, if the model estimates them,
        ``sigmas``. The objective is ignored.

        Raises:
            InputError: A reward is not finite.
        """
        texts = [text for c in comparisons for s in (c.first, c.second) for text in _texts(s, _centred(c))]
        self._score(texts)
        return [self._rate(number, comparison) for number, comparison in enumerate(comparisons, start=1)]

    def _rate(self, number: int, comparison: Comparison) -> Rating:
        centred = _centred(comparison)
        one, other = (self._value(s, centred) for s in (comparison.first, comparison.second))
        a, b = one.mean, other.mean
        if not (math.isfinite(a) and math.isfinite(b)):
            raise InputError(f"the rewards of {self._scorer.name} are not numbers ({a}, {b})", row=number)
        sigmas = [math.sqrt(one.variance), math.sqrt(other.variance)]
        tie = abs(a - b) <= self._tie_sigmas * math.hypot(*sigmas)
        better: Preference = "tie" if tie else "first" if a > b else "second"
        info: dict[str, Any] = {"rewards": [a, b]}
        return Rating(better, info | ({"sigmas": sigmas} if any(sigmas) else {}))

    def _score(self, texts: Sequence[Text]) -> None:
        """Score new texts; those with the same prompt in one decision, so that the prompt is read once."""
        quote = self.template.quote
        new: dict[str, list[str]] = {}
        for prompt, option in dict.fromkeys(texts):
            if (prompt, option) not in self._known:
                new.setdefault(prompt, []).append(option)
        read: dict[str, list[tuple[Text, str]]] = {}
        for prompt, options in new.items():
            for option in options:
                worded, completion = self._words(prompt, option)
                read.setdefault(worded, []).append(((prompt, option), completion))
        decisions = [Decision(worded, tuple(text for _, text in own)) for worded, own in read.items()]
        scored = self._scorer.score_decisions([d if self.quoted else quote(d) for d in decisions])
        for own, rewards in zip(read.values(), scored, strict=True):
            for (text, _), mean, sigma in zip(own, rewards.mean, rewards.sigma, strict=True):
                self._known[text] = _Score(float(mean), float(sigma) ** 2)

    def _value(self, segment: Segment, centred: bool) -> _Score:
        mean = variance = 0.0
        for step in segment.steps:
            prompt, options = step.decision.prompt, step.decision.options
            taken = self._known[prompt, options[step.action]]
            mean += taken.mean
            variance += taken.variance
            if centred:
                mean -= math.fsum(self._known[prompt, option].mean for option in options) / len(options)
        return _Score(mean, variance)


def _centred(comparison: Comparison) -> bool:
    return len(comparison.first.steps) > 1 or len(comparison.second.steps) > 1


def _texts(segment: Segment, centred: bool) -> list[Text]:
    return [
        (step.decision.prompt, option)
        for step in segment.steps
        for option in (step.decision.options if centred else (step.decision.options[step.action],))
    ]
