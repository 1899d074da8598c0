"""Questions to a person from their source to the report of the weights, with all files in one folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pluralign.core import InputError, SteeringWeights
from pluralign.core.choice import Choice, Question
from pluralign.data.answers import load_answers
from pluralign.data.choices import load_questions
from pluralign.elicit.interview import Interview, Turn
from pluralign.elicit.posterior import LAPSE
from pluralign.elicit.prior import SimplexPrior, WeightPrior
from pluralign.elicit.questions import LEAST_INFORMATION
from pluralign.evaluate.rewards.scored import Scorer
from pluralign.lm.dtypes import DTypeName
from pluralign.workflows.ask import (
    Answerer,
    OpenedStory,
    hold_interview,
    open_answerer,
    pool_of_completions,
    save_pool,
)
from pluralign.workflows.weights import WeightReport, report_weights

StoryValues = Literal["policies", "returns"]
"""What the values of a story's options are."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Questions, and what their values mean.

    Args:
        questions: Questions with values for the same objectives.
        scales: Unit of each objective's values; None is their deviation over the pool.
        prior: Prior of the weights; None is uniform on the simplex.
        dial: Function from weights to those of the mixture that acts by them, and how far it is off; None if
            there is no mixture.
        field: Argument that gave the objectives, for error messages.
    """

    questions: Sequence[Question]
    scales: Mapping[str, float] | None = None
    prior: WeightPrior | None = None
    dial: Callable[[Sequence[Question], SteeringWeights], tuple[SteeringWeights, float]] | None = None
    field: str = "pool"


def file_pool(path: str | Path) -> Pool:
    """Questions with values of their own; see `load_questions`."""
    return Pool(load_questions(str(path)))


def completion_pool(
    completions: str, rewards: Mapping[str, Scorer], out: Path, *, dtype: DTypeName = "float32"
) -> Pool:
    """Questions from completions of a prompt, with their rewards as values.

    Args:
        completions: File of completions, several per prompt.
        rewards: Reward of each objective.
        out: Folder for the rewards; an interrupted run continues.
        dtype: Precision of the reward models.

    Raises:
        InputError: See `load_answers` and `pool_of_completions`.
    """
    kept = Path(out) / "rewards.jsonl"
    return Pool(pool_of_completions(load_answers(completions), rewards, kept, dtype=dtype), field="rewards")


def story_pool(
    story: str, policies: Mapping[str, str], values: StoryValues = "policies", *, seed: int = 0
) -> Pool:
    """Questions from a story's decisions.

    >>> from pluralign.workflows.interview import story_pool
    >>> pool = story_pool("salt_ledger", {"score": "random", "harm_avoidance": "random"}, "returns")
    >>> sorted(pool.questions[0].objectives)
    ['harm_avoidance', 'score']

    Args:
        story: Name of a built-in story, or path of a game.
        policies: Policy of each objective, as `open_policy` takes them.
        values: Values of the options: log-probabilities of the policies, whose weights are those of their
            mixture; or the best return that an option leaves attainable, whose weights are those of returns.
        seed: Random seed of the episodes whose decisions are the questions, with policies' values.

    Raises:
        InputError: The story or a policy cannot be opened, or the story cannot be explored.
    """
    opened = OpenedStory(story, policies)
    if values == "returns":
        return Pool(opened.by_returns(), dial=opened.dial)
    # Log-probabilities have a unit: a mixture of the policies acts with decisiveness 1.
    units, prior = dict.fromkeys(policies, 1.0), SimplexPrior(decisiveness=1.0)
    return Pool(opened.by_policies(seed), units, prior)


@dataclass(frozen=True, eq=False)
class Interviewed:
    """An interview that has ended, or was stopped.

    Args:
        choices: Answers.
        turn: What is known at the end.
        report: Report of the weights.
        kept: File of the answers.
    """

    choices: Sequence[Choice]
    turn: Turn
    report: WeightReport
    kept: Path


def interview(
    pool: Pool, out: str | Path, *, by: str = "human", human: Answerer | None = None, questions: int = 8,
    least_information: float = LEAST_INFORMATION, lapse: float = LAPSE, seed: int = 0,
    on_turn: Callable[[Turn], None] = lambda turn: None,
) -> Interviewed:  # fmt: skip
    """Ask about weights, one question after another; an interrupted interview continues.

    >>> from tempfile import TemporaryDirectory
    >>> from pluralign.core import Decision
    >>> from pluralign.core.choice import Question
    >>> asked = [
    ...     Question(Decision(f"{n}?", ("a", "b")), ({"kind": n, "brief": 1.0}, {"kind": 0.0, "brief": n}))
    ...     for n in (0.5, 1.5, 2.5)
    ... ]
    >>> with TemporaryDirectory() as folder:
    ...     found = interview(Pool(asked), folder, by="simulated:kind=0.9,brief=0.1", questions=2)
    >>> len(found.choices), found.turn.end
    (2, 'number')

    Args:
        pool: Questions.
        out: Folder for choices.jsonl and pool.jsonl (for ``serve --ask``); `WeightReport.save` writes the
            weights.
        by: Source of the answers; see `open_answerer`.
        human: Function that asks a person; required for ``human``.
        questions: Largest number of questions.
        least_information: Information in nats below which a question is not asked.
        lapse: Probability of an answer at random.
        seed: Random seed of the draws, of equal questions, and of simulated answers.
        on_turn: Function that is called after every answer, and before the first.

    Raises:
        InputError: There are fewer than two objectives, or no function that asks a person; or see
            `Interview`, `open_answerer` and `hold_interview`.
    """
    asked = Interview(pool.questions, questions, least_information, pool.scales, pool.prior, lapse, seed)
    if len(asked.objectives) < 2:
        raise InputError("weights need at least two objectives", field=pool.field)
    if by == "human" and human is None:
        raise InputError("needs a function that asks the person", field="human")
    answer = open_answerer(by, asked, human or (lambda question: None))
    kept = Path(out) / "choices.jsonl"
    choices, turn = hold_interview(asked, answer, kept, on_turn)
    save_pool(pool.questions, Path(out) / "pool.jsonl")
    report = report_weights(turn.posterior, choices)
    if pool.dial is not None and choices:
        report = replace(report, dial=pool.dial(pool.questions, turn.posterior.mean))
    return Interviewed(choices, turn, report, kept)
