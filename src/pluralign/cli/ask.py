"""``pluralign ask``: questions to a person -> their weights, with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pluralign.cli.common import Figures, named_entries, say, say_weights, wrote
from pluralign.core import InputError
from pluralign.core.choice import SAME, Answer, Question
from pluralign.elicit.posterior import LAPSE
from pluralign.elicit.questions import LEAST_INFORMATION
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.elicit.interview import Turn

StoryValues = Literal["policies", "returns"]
"""What the values of a story's options are."""

_WIDTH = 88
_ENDS = {
    "number": "that was the last question",
    "information": "no further question would say much more",
    "pool": "no question is left",
}


def ask_questions(
    out: Path,
    pool: str | None = None,
    completions: str | None = None,
    rewards: tuple[str, ...] = (),
    story: str | None = None,
    policies: tuple[str, ...] = (),
    values: StoryValues = "policies",
    by: str = "human",
    questions: int = 8,
    least_information: float = LEAST_INFORMATION,
    lapse: float = LAPSE,
    seed: int = 0,
    dtype: DTypeName = "float32",
) -> tuple[Figures, int]:
    """Ask a person a few questions, chosen by their earlier answers, and infer their steering weights.

    A question shows two completions of one prompt, or the options of a story's decision. The next one is
    always that whose answer is expected to say most about the weights. An interrupted interview continues
    with the same next question. Of the person, only the answers are stored.

    Example: pluralign ask --completions draws.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --out runs/me

    Example: pluralign ask --story salt_ledger --policies score=runs/score harm_avoidance=runs/harm
    --by simulated:score=0.7,harm_avoidance=0.3@4 --out runs/me

    Args:
        out: Folder for choices.jsonl, pool.jsonl (for `serve --ask`), weights.json and weights.svg.
        pool: Questions with values of their own, as JSON lines: prompt, options, values.
        completions: Completions instead, several per prompt (`pluralign generate --samples N`).
        rewards: Reward of each objective, as NAME=REWARD; with --completions.
        story: Story instead: its decisions are the questions.
        policies: Policy of each objective, as NAME=DIR; with --story.
        values: Values of a story's options: policies (their log-probabilities; weights are those of their
            mixture) or returns (the best that an option leaves attainable; weights are those of returns, and
            the mixture's dial is calibrated).
        by: Source of answers: human, simulated:NAME=WEIGHT,...@DECISIVENESS, file:CHOICES, or judge:MODEL.
        questions: Largest number of questions.
        least_information: Information in nats below which a question is not asked.
        lapse: Probability of an answer at random.
        seed: Random seed of the draws, of equal questions, and of simulated answers.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    if sum(source is not None for source in (pool, completions, story)) != 1:
        raise InputError("give a pool, completions or a story", field="pool")
    if story is None and values != "policies":
        raise InputError("requires --story", field="values")
    for field, given, source in (("rewards", rewards, completions), ("policies", policies, story)):
        if given and source is None:
            raise InputError(f"requires --{'completions' if field == 'rewards' else 'story'}", field=field)
    from pluralign.workflows import interview

    if completions is not None:
        named = named_entries(rewards, "rewards", "NAME=REWARD")
        asked = interview.completion_pool(completions, dict(named), out, dtype=dtype)
    elif story is not None:
        asked = interview.story_pool(
            story, named_entries(policies, "policies", "NAME=DIR"), values, seed=seed
        )
    else:
        asked = interview.file_pool(str(pool))
    found = interview.interview(
        asked, out, by=by, human=_ask_person, questions=questions, least_information=least_information,
        lapse=lapse, seed=seed, on_turn=_show_dials if by == "human" else _quiet,
    )  # fmt: skip
    say(_ENDS[found.turn.end] if found.turn.end else "the same command continues")
    if found.choices:
        wrote(found.kept, f"{len(found.choices)} answers")
    return say_weights(found.report, out)


def _ask_person(question: Question) -> Answer | None:
    _show(question.decision.prompt, "")
    for number, option in enumerate(question.decision.options, start=1):
        _show(option, f"  {number}. ")
    more = ", s (about the same)" if question.may_tie else ""
    numbers = " or ".join(str(n) for n in range(1, len(question.values) + 1))
    return _read(f"{numbers}{more}, Enter to skip, q to stop: ", question)


def _read(prompt: str, question: Question) -> Answer | None:
    from pluralign.workflows.ask import Stopped

    while True:
        try:
            typed = input(prompt).strip().lower()
        except EOFError:
            say("")
            raise Stopped from None
        if typed == "q":
            raise Stopped
        if not typed:
            return None
        if typed == "s" and question.may_tie:
            return SAME
        if typed.isdecimal() and 1 <= int(typed) <= len(question.values):
            return int(typed) - 1
        say(f"expected {prompt.rstrip(': ')}")


def _show(text: str, lead: str) -> None:
    lines = [
        line
        for part in text.strip().splitlines() or [""]
        for line in (textwrap.wrap(part, _WIDTH - len(lead)) or [""])
    ]
    for place, line in enumerate(lines):
        say((lead if place == 0 else " " * len(lead)) + line)


def _quiet(turn: Turn) -> None:
    del turn


def _show_dials(turn: Turn) -> None:
    """Print the dials: mean and interval of each weight as a bar."""
    say("")
    if not turn.posterior.answers:
        return
    names: Sequence[str] = turn.posterior.objectives
    longest = max(map(len, names))
    for name in names:
        low, high = turn.posterior.interval(name)
        mean = turn.posterior.mean[name]
        cells = ["-" if low <= place / 40 <= high else " " for place in range(41)]
        cells[round(40 * mean)] = "o"
        say(f"  {name:{longest}}  |{''.join(cells)}|  {mean:.2f}  ({low:.2f} to {high:.2f})")
    say("")
