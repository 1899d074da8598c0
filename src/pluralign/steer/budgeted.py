"""Completions of prompts under a budget of samples, in rounds, into a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.core.files import write_text
from pluralign.core.jsonl import json_text
from pluralign.core.messages import Prompt
from pluralign.core.progress import ProgressBar
from pluralign.core.resumable import RowsInProgress
from pluralign.core.splits import seed_for
from pluralign.data.columns import columns_of
from pluralign.steer.budget import Budget, RewardFunction, StoppingRule
from pluralign.steer.writing import Writer

_log = logging.getLogger(__name__)
_BATCH = 256
"""Number of completions that are sampled, scored and written together."""
Drawn = Mapping[str, Any]
"""A sample: prompt and sample number, completion, further columns, rewards by objective."""


def write_budgeted(
    writer: Writer, prompts: Sequence[Prompt], out: Path, budget: Budget, *, seed: int,
    columns: Mapping[str, Any], run: Mapping[str, Any], shown: bool,
) -> list[int]:  # fmt: skip
    """Complete prompts with as many samples as are worth their price; see `write_completions`.

    Samples are the first ones of those that ``budget.most`` samples of each prompt would be. While the file
    is in progress, it holds samples in the order in which they were drawn, with their rewards.

    Returns:
        Number of samples of each prompt.

    Raises:
        InputError: There is no prompt, or not one prior value for each prompt, a reward cannot be loaded or
            is not finite; or see `write_completions`.
    """
    if not prompts:
        raise InputError("expected at least one prompt, found none", field="prompts")
    if budget.prior is not None and len(budget.prior) != len(prompts):
        raise InputError(f"found {len(budget.prior)} values of {len(prompts)} prompts", field="prior")
    read = digest([json.dumps([writer.text(prompt) for prompt in prompts]).encode()])
    settings = {
        **columns, **run, **budget.described(), **budget.identity(), "seed": seed, "rows": "drawn",
        "texts": read,
    }  # fmt: skip
    with RowsInProgress(out, settings) as target:
        rounds = _Rounds(writer, prompts, budget, seed, target)
        with ProgressBar(len(prompts), unit="prompt", shown=shown) as bar:
            finished = 0
            for going in rounds.run():
                bar.advance(len(prompts) - going - finished)
                finished = len(prompts) - going
        rows = rounds.rows({**columns, **budget.described()})
        write_text(out, "".join(json_text(row) + "\n" for row in rows))
        target.drop()
    return [len(own) for own in rounds.drawn]


class _Rounds:
    """The samples so far, and the rounds that draw further ones.

    Args:
        writer: Model that completes the prompts.
        prompts: Texts or messages, each once.
        budget: Range, price and rewards.
        seed: Random seed.
        target: File in progress, with the samples of an interrupted run.
    """

    def __init__(
        self, writer: Writer, prompts: Sequence[Prompt], budget: Budget, seed: int, target: RowsInProgress
    ) -> None:
        self._writer, self._prompts, self._budget, self._target = writer, prompts, budget, target
        self._texts, self._seed = [writer.text(prompt) for prompt in prompts], seed
        self._opened: Mapping[str, RewardFunction] | None = None
        self._total: Callable[[Mapping[str, FloatArray]], FloatArray]
        self.drawn: list[dict[int, Drawn]] = [{} for _ in prompts]
        """Samples of each prompt by their number."""
        for row in target.rows():
            self.drawn[row["item"]][row["sample"]] = row

    def run(self) -> Iterator[int]:
        """Draw in rounds; yields the number of prompts that go on after each."""
        least, everyone = self._budget.least, range(len(self._prompts))
        self._draw(everyone, range(least))
        self._total = self._budget.weighted([self._rewards_of(number, least) for number in everyone])
        first = [self._total(self._rewards_of(number, least)) for number in everyone]
        rule = StoppingRule.measured(self._budget, first)
        if doubts := rule.doubts(first):
            _log.warning("%s", doubts)
        going = self._going_on(rule, everyone, least)
        yield len(going)
        for sample in range(least, self._budget.most):
            self._draw(going, [sample])
            going = self._going_on(rule, going, sample + 1)
            yield len(going)

    def rows(self, columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Rows of the file, by prompt."""
        for number, prompt in enumerate(self._prompts):
            own = self.drawn[number]
            weighted = self._total(self._rewards_of(number, len(own)))
            for sample, drawn in sorted(own.items()):
                several = {"rewards": drawn["rewards"]} if len(drawn["rewards"]) > 1 else {}
                yield {
                    "prompt": prompt, **columns_of(prompt), "completion": drawn["completion"],
                    "sample": sample, "reward": float(weighted[sample]), **several,
                    "best": sample == int(np.argmax(weighted)), "samples_drawn": len(own),
                    **columns, **drawn["more"],
                }  # fmt: skip

    def _going_on(self, rule: StoppingRule, numbers: Sequence[int], count: int) -> list[int]:
        """Prompts that go on after this number of samples; an interrupted run may have drawn more."""
        priors = self._budget.prior
        return [
            number
            for number in numbers
            if rule.goes_on(
                self._total(self._rewards_of(number, count)),
                None if priors is None else float(priors[number]),
            )
        ]

    def _rewards_of(self, number: int, count: int) -> dict[str, FloatArray]:
        """Rewards of a prompt's first samples."""
        own = [self.drawn[number][sample]["rewards"] for sample in range(count)]
        return {name: np.array([rewards[name] for rewards in own]) for name in self._budget.rewards}

    def _draw(self, numbers: Sequence[int], samples: Sequence[int]) -> None:
        """Draw samples of these prompts, except for those that an interrupted run has drawn."""
        size = max(1, _BATCH // len(samples))
        for start in range(0, len(numbers), size):
            missing = {
                number: [sample for sample in samples if sample not in self.drawn[number]]
                for number in numbers[start : start + size]
            }
            missing = {number: own for number, own in missing.items() if own}
            if missing:
                rows = self._scored(missing)
                self._target.write(rows)
                for row in rows:
                    self.drawn[row["item"]][row["sample"]] = row

    def _scored(self, missing: Mapping[int, Sequence[int]]) -> list[dict[str, Any]]:
        """Rows of new samples, which depend on their prompt, their number and the seed alone."""
        prompts = [self._prompts[number] for number in missing]
        seeds = [[seed_for(f"{s} {self._texts[n]}", self._seed) for s in own] for n, own in missing.items()]
        places = [(number, sample) for number, own in missing.items() for sample in own]
        try:
            found = [one for own in self._writer.answers(prompts, seeds) for one in own]
        except InputError as error:
            if self._writer.stream is None:
                raise
            number = None if error.row is None else list(missing)[error.row - 1] + 1
            kept = "completions of finished batches are kept, and the same command continues"
            raise InputError(f"{error.message}; {kept}", row=number, field="prompt") from error
        rewards = self._rewards([self._prompts[number] for number, _ in places], [text for text, _ in found])
        return [
            {
                "item": number, "sample": sample, "completion": text, "more": more,
                "rewards": {name: own[i] for name, own in rewards.items()},
            }
            for i, ((number, sample), (text, more)) in enumerate(zip(places, found, strict=True))
        ]  # fmt: skip

    def _rewards(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> dict[str, list[float]]:
        self._opened = self._budget.opened() if self._opened is None else self._opened
        found: dict[str, list[float]] = {}
        for name, score in self._opened.items():
            own = np.asarray(score(prompts, texts), dtype=np.float64)
            if own.shape != (len(texts),):
                raise InputError(f"{name!r} gave {own.shape} rewards of {len(texts)} texts", field="rewards")
            if not np.isfinite(own).all():
                worst = own[~np.isfinite(own)][0]
                raise InputError(f"{name!r} gave a completion the reward {worst}", field="rewards")
            found[name] = own.tolist()
        return found
