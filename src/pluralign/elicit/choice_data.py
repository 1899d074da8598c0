"""Choices as arrays, one row per choice among options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, varies
from pluralign.core.choice import SAME, Choice, Question


@dataclass(frozen=True, eq=False)
class ChoiceData:
    """Choices in the form that `losses.choice` takes.

    A ranking is one row per choice among what is left. Where "about the same" is offered, it is the last
    option, and the last parameter, log nu, is its own.

    Args:
        values: Values in units of their scales, shape (rows, options, parameters).
        offered: Whether there is such an option, shape (rows, options).
        chosen: Index of the option taken, shape (rows,).
        weights: Number of times that each row counts, shape (rows,).
        choices: Index of the choice that each row belongs to, shape (rows,).
        answers: Number of the answer that each row belongs to (`answer_numbers`), shape (rows,); it ascends.
        ties: Whether the last parameter is log nu.
    """

    values: FloatArray
    offered: npt.NDArray[np.bool_]
    chosen: npt.NDArray[np.int64]
    weights: FloatArray
    choices: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]
    ties: bool


def objectives_of(questions: Sequence[Question]) -> tuple[str, ...]:
    """Objectives of the questions, which all have the same ones.

    Raises:
        InputError: There are no questions, or their objectives differ.
    """
    if not questions:
        raise InputError("there are no questions", field="questions")
    first = questions[0].objectives
    for row, question in enumerate(questions):
        if set(question.objectives) != set(first):
            raise InputError(
                f"has values for {', '.join(sorted(question.objectives))}, the first question for "
                f"{', '.join(sorted(first))}",
                row=row + 1,
                field="values",
            )
    return first


def answer_numbers(choices: Sequence[Choice]) -> npt.NDArray[np.int64]:
    """Number of the answer that each choice is or is a part of, from 0, in the order of their first parts."""
    known: dict[tuple[str, str] | int, int] = {}
    return np.array(
        [
            known.setdefault((choice.by, choice.part_of) if choice.part_of else row, len(known))
            for row, choice in enumerate(choices)
        ],
        dtype=np.int64,
    )


def count_answers(choices: Sequence[Choice]) -> int:
    """Number of answers; their parts are one."""
    return int(answer_numbers(choices).max()) + 1 if choices else 0


def without_ties(question: Question) -> Question:
    """The question without "about the same" as an answer: the choice between its options alone."""
    return replace(question, may_tie=False)


def value_scales(questions: Sequence[Question]) -> dict[str, float]:
    """Standard deviation of each objective's values between the options of one question.

    Weights of values in these units can be compared: weight 0.5 is half of the importance of usual
    differences. An objective whose options never differ has scale 1.

    Raises:
        InputError: There are no questions, or their objectives differ.
    """
    names = objectives_of(questions)
    total, degrees = np.zeros(len(names)), 0
    varied = np.zeros(len(names), dtype=bool)
    for question in questions:
        values = values_of(question, names)
        varied |= varies(values)
        total += ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        degrees += len(values) - 1
    scales = np.where(varied & (total > 0), np.sqrt(total / degrees), 1.0)
    return dict(zip(names, scales.tolist(), strict=True))


def values_of(question: Question, names: Sequence[str]) -> FloatArray:
    """Values of the options, shape (options, objectives)."""
    return np.array([[values[name] for name in names] for values in question.values], dtype=np.float64)


def scaled_values(question: Question, names: Sequence[str], scales: Mapping[str, float]) -> FloatArray:
    """Values of the options in units of the scales, shape (options, objectives)."""
    return values_of(question, names) / np.array([scales[name] for name in names])


def question_arrays(
    questions: Sequence[Question], names: Sequence[str], scales: Mapping[str, float], ties: bool
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Values and masks of all answers to questions, padded to the largest number of answers.

    Args:
        questions: Questions with values for these objectives.
        names: Objectives, the order of the parameters.
        scales: Unit of each objective's values.
        ties: Whether log nu is a parameter.

    Returns:
        Values of shape (questions, answers, parameters), and whether there is such an answer, shape
        (questions, answers).
    """
    most = max(len(question.values) + question.may_tie for question in questions)
    values = np.zeros((len(questions), most, len(names) + ties))
    offered = np.zeros((len(questions), most), dtype=bool)
    for row, question in enumerate(questions):
        count = len(question.values)
        values[row, :count, : len(names)] = [[own[name] for name in names] for own in question.values]
        offered[row, : count + question.may_tie] = True
    values[..., : len(names)] /= np.array([scales[name] for name in names])
    if ties:
        tied = np.flatnonzero([question.may_tie for question in questions])
        values[tied, 2, : len(names)] = values[tied, :2, : len(names)].mean(axis=1)
        values[tied, 2, len(names)] = 1.0
    return values, offered


def choice_data(choices: Sequence[Choice], names: Sequence[str], scales: Mapping[str, float]) -> ChoiceData:
    """Arrays of choices.

    Args:
        choices: One or more choices; all have values for these objectives.
        names: Objectives, the order of the parameters.
        scales: Unit of each objective's values.
    """
    ties = any(choice.question.may_tie for choice in choices)
    values, offered = question_arrays([choice.question for choice in choices], names, scales, ties)
    rows: list[int] = []
    chosen: list[int] = []
    masks: list[npt.NDArray[np.bool_]] = []
    numbers = answer_numbers(choices)
    order: list[int] = np.argsort(numbers, kind="stable").tolist()
    for index in order:
        choice = choices[index]
        options = len(choice.question.values)
        left = offered[index].copy()
        # The last of all options is no choice.
        for place in choice.ranking[: options - 1] if choice.answer != SAME else (options,):
            rows.append(index)
            chosen.append(place)
            masks.append(left.copy())
            left[place] = False
    index = np.array(rows)
    weights = np.array([choice.weight for choice in choices])
    return ChoiceData(
        values[index], np.array(masks), np.array(chosen), weights[index], index, numbers[index], ties
    )


def per_owner(owner: npt.NDArray[np.int64], rows: FloatArray, owners: int) -> FloatArray:
    """Sums of rows by the choice or the answer that they belong to, shape (owners,)."""
    total = np.zeros(owners, dtype=np.float64)
    np.add.at(total, owner, rows)
    return total
