"""A rater's opinion of the options that an agent meets, kept in a file, as an intrinsic reward."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pluralign.annotate.annotator import AnnotationFile
from pluralign.annotate.open import DecideName, open_rater
from pluralign.annotate.options import option_pairs
from pluralign.annotate.rater import Rater
from pluralign.collect.intrinsic import Intrinsic
from pluralign.core import Annotation, Decision, InputError, Objective
from pluralign.games.game import Story
from pluralign.games.labelled.labels import option_values
from pluralign.lm.endpoint_settings import EndpointSettings


class JudgedOptions:
    """Values of options as a rater sees them: the share of a decision's other options that each beats, scaled
    to -1 to 1, as with labels of options (`games.labelled.labels`).

    Every pair of options is compared once and written to a file of annotations. What the file holds already
    is not asked again, so that a run that was interrupted and is begun again takes the same steps, and so
    that a story can be labelled with the file afterwards.

    Args:
        rater: Rater of comparisons; see `annotate.open.open_rater`.
        objective: Objective to rate by.
        out: File of annotations; an existing one is continued.
        seed: Random seed of the order of options within a pair.
    """

    def __init__(self, rater: Rater, objective: Objective, out: str | Path, *, seed: int = 0) -> None:
        self._rater, self._objective, self._out, self._seed = rater, objective, Path(out), seed
        self._known: dict[str, list[Annotation]] = {}

    @property
    def name(self) -> str:
        """Rater and objective."""
        return f"{self._rater.name} on {self._objective.name}"

    def __call__(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64] | None]:
        """Values of the options of each decision; None if the rater answered nothing about it.

        Raises:
            InputError: The rater fails, or the file is of another rater or objective.
        """
        file = self._opened
        for annotation in file.rate([pair for one in decisions for pair in option_pairs(one, self._seed)]):
            self._add(annotation)
        found: list[npt.NDArray[np.float64] | None] = []
        for decision in decisions:
            number = len(decision.options)
            own = option_values(self._known.get(decision.key, ()), self._out).get(decision.key)
            if own is None:
                # With a single option there is nothing to judge.
                found.append(np.zeros(1) if number == 1 else None)
            else:
                found.append(np.array([own.get(option, 0.0) for option in range(number)]))
        return found

    @cached_property
    def _opened(self) -> AnnotationFile:
        """The file, which is read once."""
        made_of = {"of": "options", "seed": self._seed}
        file = AnnotationFile(self._out, self._objective, self._rater, made_of)
        weakref.finalize(self, file.close)
        for annotation in file.found:
            self._add(annotation)
        return file

    def _add(self, annotation: Annotation) -> None:
        key = annotation.comparison.first.steps[0].decision.key
        self._known.setdefault(key, []).append(annotation)


@dataclass(frozen=True)
class IntrinsicOptions:
    """Options of an intrinsic reward from a rater of options (ONI).

    Args:
        rater: Rater that compares the options of decisions as they are met, as `pluralign annotate` takes it:
            judge:MODEL, judge:openai:MODEL, listwise:MODEL or reward:REWARD; none by default.
        objective: Objective of the story that it rates by.
        weight: Weight of the options' values, from -1 to 1, in units of the mean absolute return of random
            play.
        beta: Exponent of the number of visits that values are divided by; 0 for values that do not fade.
        every: Number of rounds of play between questions to the rater.
        labels: File of annotations that keeps the answers; by default next to the output, with the ending
            .labels.jsonl. Answers that it holds are not asked again.
        decide: Rule for a judge's answers in both orders.
    """

    rater: str = ""
    objective: str = "score"
    weight: float = 0.1
    beta: float = 1.0
    every: int = 64
    labels: Path | None = None
    decide: DecideName = "agreement"

    def open(self, game: Story, out: Path, endpoint: EndpointSettings) -> Intrinsic | None:
        """The intrinsic reward that the options ask for; None without a rater.

        Raises:
            InputError: There are other options and no rater, the rater is unknown, or the objective is.
        """
        if not self.rater:
            if self != IntrinsicOptions():
                raise InputError("give the rater of an intrinsic reward", field="intrinsic.rater")
            return None
        rater = open_rater(self.rater, decide=self.decide, endpoint=endpoint)
        labels = self.labels or out.with_suffix(".labels.jsonl")
        judged = JudgedOptions(rater, game.info.objective(self.objective), labels)
        return Intrinsic(judged, self.weight, self.beta, self.every, judged.name)
