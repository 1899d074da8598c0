"""Questions from decisions: values by rewards, by policies' log-probabilities, or by returns of a game."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from pluralign.core import (
    Decision,
    InputError,
    Objective,
    OptionRewards,
    Policy,
    SteeringWeights,
    Trajectory,
)
from pluralign.core.arrays import FloatArray
from pluralign.core.choice import Choice, Question
from pluralign.elicit.choice_data import objectives_of, values_of
from pluralign.games.state_graph import END, StateGraph
from pluralign.losses.choice import choice_log_probs

# Decisions whose log-probabilities are computed at once.
_BATCH = 64


def pairs_by_reward(
    decisions: Sequence[Decision], rewards: Mapping[str, Sequence[OptionRewards]], *, may_tie: bool = True
) -> list[Question]:
    """All pairs of different completions of a prompt, with the completions' rewards as values.

    Args:
        decisions: Prompts with their completions.
        rewards: Rewards of each prompt's completions, by objective.
        may_tie: Whether "about the same" is an answer.
    """
    found: dict[str, Question] = {}
    for index, decision in enumerate(decisions):
        # Equal samples are one option.
        places = {text: place for place, text in reversed(list(enumerate(decision.options)))}
        for first, second in combinations(sorted(places.values()), 2):
            pair = Decision(decision.prompt, (decision.options[first], decision.options[second]))
            values = tuple(
                {name: float(own[index].mean[place]) for name, own in rewards.items()}
                for place in (first, second)
            )
            found[pair.key] = Question(pair, values, may_tie, _words(pair.prompt, pair.options))
    return list(found.values())


def _words(prompt: str, options: Sequence[str]) -> float:
    """Cost of a question: its words, of which 100 are an answer's own effort."""
    return 1.0 + sum(len(text.split()) for text in (prompt, *options)) / 100


def questions_by_policies(decisions: Sequence[Decision], policies: Mapping[str, Policy]) -> list[Question]:
    """Decisions with the log-probabilities of one policy per objective as values.

    With decisiveness 1 and no lapses the choice model is then the policies' geometric mixture.

    Args:
        decisions: Decisions with two options or more; others are left out.
        policies: Policies by objective.

    Raises:
        InputError: There are no policies, or one gives an option probability 0.
    """
    if not policies:
        raise InputError("expected at least one policy", field="policies")
    asked = [decision for decision in decisions if len(decision.options) > 1]
    known = {name: list(_log_probs(policy, asked)) for name, policy in policies.items()}
    found: list[Question] = []
    for index, decision in enumerate(asked):
        values = tuple(
            {name: float(own[index][place]) for name, own in known.items()}
            for place in range(len(decision.options))
        )
        for name, own in known.items():
            if not np.isfinite(own[index]).all():
                raise InputError(
                    f"the policy of {name} gives an option probability 0: {decision.prompt!r:.60}",
                    field="policies",
                )
        found.append(Question(decision, values))
    return found


def are_log_probs(questions: Sequence[Question]) -> bool:
    """Whether all values are log-probabilities: each objective's probabilities of the options sum to 1."""
    names = objectives_of(questions)
    return all(
        np.allclose(np.exp(np.minimum(values_of(question, names), 1.0)).sum(axis=0), 1.0, rtol=0, atol=1e-6)
        for question in questions
    )


def _log_probs(policy: Policy, decisions: Sequence[Decision]) -> Iterator[FloatArray]:
    for first in range(0, len(decisions), _BATCH):
        yield from policy.log_probs(decisions[first : first + _BATCH])


def choices_of_trajectories(
    trajectories: Sequence[Trajectory], policies: Mapping[str, Policy]
) -> list[Choice]:
    """Every step of episodes as a choice among the step's options, by the policy that acted.

    Args:
        trajectories: Episodes.
        policies: Policies by objective, whose log-probabilities are the values.

    Raises:
        InputError: No step has two options.
    """
    decisions = {step.decision.key: step.decision for one in trajectories for step in one.steps}
    questions = {one.decision.key: one for one in questions_by_policies(list(decisions.values()), policies)}
    found = [
        Choice(questions[step.decision.key], step.action, by=one.policy)
        for one in trajectories
        for step in one.steps
        if step.decision.key in questions
    ]
    if not found:
        raise InputError("no step has two options", field="trajectories")
    return found


class Planted:
    """Answers of a simulated person with known weights.

    Args:
        weights: Weights of the objectives.
        decisiveness: Factor of the weighted values; infinite always takes the best option.
        scales: Unit of each objective's values.
        lapse: Probability of an answer at random.
        seed: Random seed of the answers.
    """

    def __init__(
        self,
        weights: SteeringWeights,
        decisiveness: float,
        scales: Mapping[str, float],
        lapse: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not decisiveness > 0:
            raise InputError(f"must be above 0, found {decisiveness}", field="decisiveness")
        self._weights, self._decisiveness = weights, decisiveness
        self._scales, self._lapse, self._seed = scales, lapse, seed

    def answer(self, question: Question) -> int:
        """Index of the option taken; it depends on the question and the seed only.

        Raises:
            InputError: A weight names an objective without a value.
        """
        names = question.objectives
        values = np.array([[own[name] / self._scales[name] for name in names] for own in question.values])
        utilities = values @ self._weights.aligned_to(names)
        # The sharpest that exponentials of any values can take.
        theta = np.array([[min(self._decisiveness, 1e8)]])
        shape = utilities[None, :, None]
        log_probs = choice_log_probs(shape, np.ones((1, len(values)), bool), theta, self._lapse)[0, 0]
        random = np.random.default_rng([self._seed, int(question.decision.key[:8], 16)])
        return int(random.choice(len(values), p=np.exp(log_probs) / np.exp(log_probs).sum()))


def questions_by_returns(graph: StateGraph, objectives: Sequence[Objective]) -> list[Question]:
    """Decisions of a game, with the best return that each option leaves attainable as values.

    The value of an option for an objective is its reward plus the highest return from the state that follows,
    if only this objective counted from there on. A decision that is met in several states has the mean over
    them.

    Args:
        graph: States of the game.
        objectives: Objectives.

    Raises:
        InputError: An episode can go on forever.
    """
    rewards = graph.rewards(objectives)
    best = np.zeros((len(graph.states), len(objectives)))
    total = {
        index: np.zeros((len(one.options), len(objectives))) for index, one in enumerate(graph.decisions)
    }
    met = [0] * len(graph.decisions)
    for state in graph.backwards.tolist():
        if state == END:
            continue
        edges = slice(graph.first[state], graph.first[state + 1])
        values = rewards[edges] + best[graph.target[edges]]
        best[state] = values.max(axis=0)
        number = int(graph.decision_of[state])
        total[number] += values
        met[number] += 1
    names = [objective.name for objective in objectives]
    return [
        Question(
            decision,
            tuple(dict(zip(names, row, strict=True)) for row in (total[index] / met[index]).tolist()),
        )
        for index, decision in enumerate(graph.decisions)
        if len(decision.options) > 1 and met[index]
    ]
