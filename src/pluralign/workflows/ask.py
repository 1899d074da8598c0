"""An interview from the first question to the weights: by a person, a simulated one, a judge, or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.core import Comparison, Decision, InputError, Objective, Segment, SteeringWeights, Step
from pluralign.core.choice import SAME, Answer, Choice, Question
from pluralign.core.files import cut_to_last_line
from pluralign.core.messages import dialogue
from pluralign.data.choices import (
    append_choice,
    load_choices,
    load_unfinished_choices,
    question_row,
    save_rows,
)
from pluralign.elicit.interview import Interview, Turn

if TYPE_CHECKING:
    from pluralign.annotate.rater import Rater
    from pluralign.data.answers import AnswerSet
    from pluralign.evaluate.rewards.scored import Scorer
    from pluralign.lm.dtypes import DTypeName

Answerer = Callable[[Question], Answer | None]
"""Function from a question to its answer; None skips the question."""

# Random episodes whose decisions become questions, their steps, and the largest number of questions.
_EPISODES = 200
_MOST_STEPS = 200
_MOST_QUESTIONS = 2000
_PREFERENCE = Objective("preference", "the answer that you would rather have")


class Stopped(Exception):
    """The person has ended the interview."""


def hold_interview(
    interview: Interview,
    answer: Answerer,
    kept: Path,
    on_turn: Callable[[Turn], None] = lambda turn: None,
) -> tuple[list[Choice], Turn]:
    """Ask until the interview ends; each answer is written at once, and an interrupted interview continues.

    Args:
        interview: Interview with a pool of questions.
        answer: Function that answers; it may raise `Stopped`.
        kept: JSON-lines file of the answers.
        on_turn: Function that is called after every answer, and before the first.

    Returns:
        The answers, and what is known at the end.

    Raises:
        InputError: The file has answers to other questions, or cannot be written.
    """
    choices = _continued(interview, kept)
    skipped: list[str] = []
    while True:
        turn = interview.turn(choices, skipped)
        on_turn(turn)
        if turn.suggestion is None:
            return choices, turn
        question = turn.suggestion.question
        try:
            found = answer(question)
        except Stopped:
            return choices, turn
        if found is None:
            skipped.append(question.decision.key)
            continue
        choices.append(Choice(question, found))
        append_choice(kept, choices[-1])


def _continued(interview: Interview, kept: Path) -> list[Choice]:
    if not kept.exists():
        return []
    found = load_unfinished_choices(kept)
    for row, choice in enumerate(found, start=1):
        if interview.by_key.get(choice.question.decision.key) != choice.question:
            raise InputError(
                "is an answer to a question that is not in the pool; give another --out", path=kept, row=row
            )
    cut_to_last_line(kept)
    return found


def save_pool(pool: Sequence[Question], path: Path) -> Path:
    """Write a pool of questions, for ``serve --ask``."""
    return save_rows(path, map(question_row, pool))


def pool_of_completions(
    completions: AnswerSet, rewards: Mapping[str, Scorer], kept: Path, *, dtype: DTypeName = "float32"
) -> list[Question]:
    """Questions from completions of one prompt, with their rewards as values.

    Args:
        completions: Completions, several per prompt.
        rewards: Reward of each objective.
        kept: File for the rewards; an interrupted run continues.
        dtype: Precision of the reward models.

    Raises:
        InputError: No prompt has two different completions.
    """
    from pluralign.elicit.grounding import pairs_by_reward
    from pluralign.evaluate.rewards.choose import score_answers

    answers = list(completions.answers.values())
    scored = score_answers(answers, rewards, kept, dtype=dtype)
    decisions = [one.decision(dialogue) for one in answers]
    pool = pairs_by_reward(decisions, scored)
    if not pool:
        raise InputError("no prompt has two different completions", path=completions.path or None)
    return pool[:_MOST_QUESTIONS]


def values_by_rewards(
    rewards: Mapping[str, Scorer], kept: Path, *, dtype: DTypeName = "float32"
) -> Callable[[Sequence[Decision]], list[tuple[Mapping[str, float], ...]]]:
    """Function from decisions to the rewards of their options, by objective.

    Args:
        rewards: Reward of each objective.
        kept: File for the rewards; an interrupted run continues.
        dtype: Precision of the reward models.
    """

    def values_of(decisions: Sequence[Decision]) -> list[tuple[Mapping[str, float], ...]]:
        from pluralign.data.answers import Answers
        from pluralign.evaluate.rewards.choose import score_answers

        answers = [Answers(one.prompt, one.options, "", row) for row, one in enumerate(decisions, start=1)]
        scored = score_answers(answers, rewards, kept, dtype=dtype)
        return [
            tuple(
                {name: float(own[index].mean[place]) for name, own in scored.items()}
                for place in range(len(decision.options))
            )
            for index, decision in enumerate(decisions)
        ]

    return values_of


class OpenedStory:
    """A story and the policies of its objectives.

    Args:
        story: Name of a built-in story, or path of a game.
        policies: Policy of each objective, as `open_policy` takes them.

    Raises:
        InputError: The story or a policy cannot be opened.
    """

    def __init__(self, story: str, policies: Mapping[str, str]) -> None:
        from pluralign.games.open import open_story
        from pluralign.options.open import Models, load_agents

        models = Models()
        self._story = open_story(story)
        self._policies = load_agents(policies, models)

    def by_policies(self, seed: int = 0) -> list[Question]:
        """Questions from the decisions of random episodes, with the policies' log-probabilities as values.

        Args:
            seed: Random seed of the episodes.
        """
        from pluralign.elicit.grounding import questions_by_policies
        from pluralign.games.random_play import play_at_random

        game = self._story.make_game()
        met: dict[str, Decision] = {}
        for number in range(_EPISODES):
            for decision in play_at_random(game, seed + number, _MOST_STEPS):
                if len(met) < _MOST_QUESTIONS:
                    met.setdefault(decision.key, decision)
        return questions_by_policies(list(met.values()), self._policies)

    def by_returns(self) -> list[Question]:
        """Questions from all decisions, with the best attainable returns as values.

        Raises:
            InputError: The story has too many states to explore, or random numbers.
        """
        from pluralign.elicit.grounding import questions_by_returns
        from pluralign.games.state_graph import explore

        objectives = [self._story.info.objective(name) for name in self._policies]
        return questions_by_returns(explore(self._story.make_game()), objectives)[:_MOST_QUESTIONS]

    def dial(self, pool: Sequence[Question], wanted: SteeringWeights) -> tuple[SteeringWeights, float]:
        """Weights of the policies' mixture that acts by given weights of the returns; see `Calibration.dial`.

        Args:
            pool: Questions with returns as values.
            wanted: Weights of the returns in units of their deviations.
        """
        from pluralign.elicit.calibration import calibrate
        from pluralign.steer.steered import steered

        names = list(self._policies)
        mixture = steered(self._policies, SteeringWeights.uniform(names))
        return calibrate(pool, mixture.with_weights).dial(wanted)


def open_answerer(spec: str, interview: Interview, human: Answerer) -> Answerer:
    """Who answers, by name.

    Args:
        spec: ``human``; ``simulated:NAME=WEIGHT,...@DECISIVENESS``; ``file:CHOICES`` (answers in a file, in
            any order; questions without one are skipped); or ``judge:MODEL`` (a rater of `open_rater`).
        interview: Interview with a pool of questions.
        human: Function that asks a person.

    Raises:
        InputError: The name is unknown, or its settings are wrong.
    """
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "human", "":
            return human
        case "simulated", settings if settings:
            return _simulated(settings, interview)
        case "file", path if path:
            known = _answers_in(path)
            return lambda question: known.get(question.decision.key)
        case "judge", model if model:
            from pluralign.annotate.open import open_rater

            return _judged(open_rater(spec))
        case _:
            known_forms = "human, simulated:NAME=WEIGHT,...@DECISIVENESS, file:CHOICES or judge:MODEL"
            raise InputError(f"expected {known_forms}, found {spec!r}", field="by")


def _answers_in(path: str) -> dict[str, Answer]:
    """Answers of one person in a file, by the keys of their decisions."""
    choices = load_choices(path)
    if len(people := {choice.by for choice in choices}) > 1:
        raise InputError(f"has answers of {len(people)} people, and an interview is of one", path=path)
    found: dict[str, tuple[int, Answer]] = {}
    for row, choice in enumerate(choices, start=1):
        first, answer = found.setdefault(choice.question.decision.key, (row, choice.answer))
        if answer != choice.answer:
            raise InputError(f"is another answer to the question of row {first}", path=path, row=row)
    return {key: answer for key, (_, answer) in found.items()}


def _simulated(settings: str, interview: Interview) -> Answerer:
    from pluralign.elicit.grounding import Planted

    weights, _, decisiveness = settings.partition("@")
    try:
        number = float(decisiveness or "4")
    except ValueError as error:
        raise InputError(f"expected a number after @, found {decisiveness!r}", field="by") from error
    mix = SteeringWeights.parse(weights)
    mix.require_known(interview.objectives)
    return Planted(mix, number, interview.units, seed=interview.seed).answer


def _judged(rater: Rater) -> Answerer:
    from pluralign.annotate.rater import is_answered

    def answer(question: Question) -> Answer | None:
        if len(question.values) != 2:
            return None
        first, second = (
            Segment(f"{question.decision.key}-{place}", 0, (Step(question.decision, place),))
            for place in (0, 1)
        )
        (rating,) = rater.rate([Comparison(first, second)], _PREFERENCE)
        if rating is None or not is_answered(rating):
            return None
        if rating.preference == "tie":
            return SAME if question.may_tie else None
        return 0 if rating.preference == "first" else 1

    return answer
