"""Progress of a play, as a language model judges it from shuffled passages.

Passages in their order are judged to progress whatever they say, so they are shuffled (generative value
learning, GVL; Ma et al. 2025, arXiv 2411.04549, whose frames of a video these passages replace). A critic can
be shown examples of other plays with their progress (in-context conditioning; also in GenAC, arXiv
2604.10701).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pluralign.annotate.judge import LETTERS, Scorer, letter_log_probs
from pluralign.annotate.prompt import shorten
from pluralign.core import InputError, Objective
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import require_at_least
from pluralign.core.splits import seed_for
from pluralign.lm.prompt_file import PromptFile
from pluralign.lm.replies import Question, Replies, Writer, said

Example = tuple[str, float]
"""A passage of another play, and how far that play had come with the aim, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Progress:
    """Judged progress of the passages of one play.

    Args:
        values: Progress of each passage in their true order, shape (passages,): only comparisons within a
            play mean anything. NaN if the critic gave none.
        info: What a report counts: see the critics.
    """

    values: FloatArray
    info: Mapping[str, int] = field(default_factory=dict[str, int])


class ProgressCritic(Protocol):
    """Judges the progress of a play."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that the values depend on, as JSON values."""
        ...

    def progress(
        self,
        passages: Sequence[str],
        objective: Objective,
        *,
        examples: Sequence[Example] = (),
        seed: int = 0,
    ) -> Progress:
        """Progress of passages, which are given in their true order.

        Args:
            passages: Two or more texts of one play.
            objective: Objective whose description is the aim.
            examples: Passages of other plays.
            seed: Random seed of the shuffling.
        """
        ...


class OrderingCritic:
    """Compares passages in pairs: in which of two has the player come further?

    Each pair is presented in both orders, and the mean log-odds of the two letters are a comparison in which
    a constant preference for a place cancels. A passage's progress is the mean over the others (Borda), which
    no shuffling changes. ``info``: ``pairs``, and ``same_place``, how many of them had the same letter named
    in both orders.

    Args:
        scorer: Local language model.
        prompt: Prompt file; None uses ``annotate/prompts/order.txt``.

    Raises:
        InputError: The prompt file cannot be used.
    """

    def __init__(self, scorer: Scorer, *, prompt: str | Path | None = None) -> None:
        self._scorer, self._prompt = scorer, _prompt(prompt, "order", ("first", "second"))

    @property
    def name(self) -> str:
        """``order:MODEL``."""
        return f"order:{self._scorer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `ProgressCritic.settings`."""
        return {
            "prompt": self._prompt.digest,
            "reads": "log_odds",
            "dtype": getattr(self._scorer, "dtype", ""),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return getattr(self._scorer, "identity", {})

    def progress(
        self,
        passages: Sequence[str],
        objective: Objective,
        *,
        examples: Sequence[Example] = (),
        seed: int = 0,
    ) -> Progress:
        """See `ProgressCritic.progress`."""
        _require_several(passages)
        shown = _examples_text(examples)
        pairs = list(combinations(range(len(passages)), 2))
        chats = [
            self._prompt.fill(
                objective=objective.description, examples=shown, first=shorten(passages[one].strip()),
                second=shorten(passages[other].strip()),
            )
            for pair in pairs
            for one, other in (pair, pair[::-1])
        ]  # fmt: skip
        scores = letter_log_probs(self._scorer, chats, LETTERS)
        odds = (scores[:, 0] - scores[:, 1]).reshape(-1, 2)
        further = np.zeros((len(passages), len(passages)))
        for (one, other), (listed, exchanged) in zip(pairs, odds, strict=True):
            further[one, other] = (listed - exchanged) / 2
            further[other, one] = -further[one, other]
        # In both orders the same letter: the odds of A have the same sign.
        same = int((odds[:, 0] * odds[:, 1] > 0).sum())
        return Progress(further.sum(axis=1) / (len(passages) - 1), {"pairs": len(pairs), "same_place": same})


class PercentCritic:
    """Asks for the progress of all passages at once, in percent, several times in other orders.

    The first passage stays at its place as 0 %. A passage's progress is its median over the replies. A reply
    that lacks a passage is malformed: the question is asked again up to ``re_asks`` times. ``info``:
    ``replies``, and ``malformed``, how many of the samples had no usable reply.

    Args:
        writer: Model that generates the replies: an endpoint, or a local language model.
        prompt: Prompt file; None uses ``annotate/prompts/percent.txt``.
        samples: Number of replies, each to another order.
        re_asks: Number of times to ask again after a malformed reply.
        max_new_tokens: Largest number of tokens of a reply; reasoning models need many.
        temperature: Sampling temperature of the replies.

    Raises:
        InputError: The prompt file cannot be used, or there is no sample.
    """

    def __init__(
        self, writer: Writer, *, prompt: str | Path | None = None, samples: int = 3, re_asks: int = 2,
        max_new_tokens: int = 1024, temperature: float = 0.7,
    ) -> None:  # fmt: skip
        require_at_least(1, samples=samples)
        self._replies = Replies(writer, re_asks, max_new_tokens, temperature)
        self._prompt, self._samples = _prompt(prompt, "percent", ("passages",)), samples

    @property
    def name(self) -> str:
        """``percent:MODEL``."""
        return f"percent:{self._replies.writer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `ProgressCritic.settings`."""
        own = {"prompt": self._prompt.digest, "reads": "reply", "samples": self._samples}
        return own | self._replies.settings

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return getattr(self._replies.writer, "identity", {})

    def progress(
        self,
        passages: Sequence[str],
        objective: Objective,
        *,
        examples: Sequence[Example] = (),
        seed: int = 0,
    ) -> Progress:
        """See `ProgressCritic.progress`.

        Raises:
            InputError: There are fewer than two passages, or the endpoint does not answer.
        """
        _require_several(passages)
        shown, count = _examples_text(examples), len(passages)
        orders = [_shuffled(count, seed, sample) for sample in range(self._samples)]
        questions = [
            self._question(passages, order, objective, shown, seed, sample)
            for sample, order in enumerate(orders)
        ]
        self._replies.ask(questions)
        rows: list[FloatArray] = []
        for order, question in zip(orders, questions, strict=True):
            if question.answer is not None:
                row = np.empty(count)
                row[order] = question.answer
                rows.append(row)
        values = np.median(rows, axis=0) if rows else np.full(count, np.nan)
        return Progress(values, {"replies": len(questions), "malformed": len(questions) - len(rows)})

    def _question(
        self, passages: Sequence[str], order: Sequence[int], objective: Objective, shown: str, seed: int,
        sample: int,
    ) -> Question[tuple[float, ...]]:  # fmt: skip
        listed = "\n\n".join(
            f"Passage {number}:\n{shorten(passages[place].strip())}"
            for number, place in enumerate(order, start=1)
        )
        text = self._prompt.fill(objective=objective.description, examples=shown, passages=listed)
        return Question(
            text,
            lambda reply: parse_percents(reply, len(passages)),
            f'End with one line for each of the {len(passages)} passages, such as "Passage 2: 35".',
            lambda attempt: seed_for(f"{attempt}\0{sample}\0{text}", seed),
        )


_LINE = re.compile(r"passage\W{0,3}(\d+)\W{1,4}(\d+(?:\.\d+)?)\s*%?", re.IGNORECASE)


def parse_percents(reply: str, count: int) -> tuple[float, ...] | None:
    """Progress of passages 1 to ``count`` in a reply, from 0 to 1, or None if one is missing or above 100 %.

    Thinking is ignored (`said`), and of several numbers for a passage the last one counts.
    """
    found = {
        int(number): float(percent) / 100 for number, percent in _LINE.findall(said(reply).replace("*", ""))
    }
    if any(number not in found or found[number] > 1 for number in range(1, count + 1)):
        return None
    return tuple(found[number] for number in range(1, count + 1))


def _prompt(path: str | Path | None, name: str, needed: tuple[str, ...]) -> PromptFile:
    return PromptFile(
        path, package="pluralign.annotate", name=f"prompts/{name}.txt",
        placeholders=("objective", "examples", *needed), required=("objective", *needed),
    )  # fmt: skip


def _examples_text(examples: Sequence[Example]) -> str:
    """Examples as text; empty without any."""
    if not examples:
        return ""
    listed = "\n\n".join(
        f"{shorten(passage.strip())}\nProgress: {100 * share:.0f} %" for passage, share in examples
    )
    return f"Passages of other plays, with the progress that was made:\n\n{listed}"


def _shuffled(count: int, seed: int, sample: int) -> list[int]:
    """An order of the passages that begins with the first."""
    rng = np.random.default_rng(seed_for(f"order {sample}", seed))
    return [0, *(1 + rng.permutation(count - 1)).tolist()]


def _require_several(passages: Sequence[str]) -> None:
    if len(passages) < 2:
        raise InputError(f"expected two passages or more, found {len(passages)}", field="passages")
