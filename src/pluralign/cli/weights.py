"""``pluralign weights``: choices or episodes -> the weights that explain them, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import (
    Figures,
    named_entries,
    named_folders,
    refuse,
    say,
    say_table,
    say_weights,
    wrote,
)
from pluralign.core import InputError
from pluralign.data.choice_tables import ChoiceColumns, Missing
from pluralign.data.choices import read_choices
from pluralign.data.contests import load_contests
from pluralign.data.text_choices import TextColumns
from pluralign.elicit.many import PriorName
from pluralign.elicit.posterior import LAPSE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pluralign.core.choice import Choice
    from pluralign.workflows.weights import ManyReport


def infer_weights(
    out: Path,
    choices: str | None = None,
    trajectories: Path | None = None,
    policies: tuple[str, ...] = (),
    values: tuple[str, ...] = (),
    chosen: str = "chosen",
    rank: str = "",
    rating: str = "",
    person: str = "",
    question: str = "",
    option: str = "",
    missing: Missing = "refuse",
    rewards: tuple[str, ...] = (),
    prompt: str = "",
    options: str = "",
    sides: tuple[str, ...] = (),
    prior: PriorName = "flat",
    lapse: float = LAPSE,
    seed: int = 0,
) -> tuple[Figures, int]:
    """Infer steering weights from choices among options with known values, or from episodes.

    Writes weights.json with the mean weights, 90 % intervals, and how well weights explain the choices; the
    answers that contradict each other; and other utilities, if they explain the choices better. `pluralign
    serve --default-weights` takes the file. With --person there is one row per person in weights.csv instead.
    The exit code is 1 if ten answers or more (of all people) are explained no better than by chance.

    Example: pluralign weights --choices runs/me/choices.jsonl --out runs/me

    Example: pluralign weights --choices routes.csv --values time=-tt{} cost=-tc{} --chosen choice
    --person ID --prior people --out runs/routes

    Example: pluralign weights --choices survey.csv --prompt question --options options --chosen answer
    --rewards care=runs/care fairness=runs/fairness --out runs/survey

    Example: pluralign weights --trajectories runs/t.jsonl --policies score=runs/score harm=runs/harm
    --out runs/agent

    Args:
        out: Folder for weights.json and weights.svg.
        choices: Choices: a file that `pluralign ask` wrote, or a table (--values).
        trajectories: Episodes instead of choices: under which weights would the policies' mixture act so?
        policies: Policy of each objective, as NAME=DIR; with --trajectories.
        values: Column of each objective's values, as NAME=COLUMN; NAME=-COLUMN if lower is better. In tables
            with one row per choice, {} is the option's place in the column's name: time=-tt{} reads the
            columns tt1, tt2, ... Without {}, each row is one option. bus=mode:bus is 1 where the column mode
            holds bus, and 0 elsewhere.
        chosen: Column of the answer: with one row per choice, the option taken, as in the columns' names;
            with one row per option, 1 for the option taken and 0 for the others, or its name in every row.
        rank: Column of the options' ranks, 1 for the best, instead of --chosen; with one row per option.
        rating: Column of the options' ratings, the highest for the best, instead of --chosen; likewise.
        person: Column that names the person, or several with commas between them; by default all choices are
            one person's.
        question: Column that numbers the questions of a person; with one row per option.
        option: Column of the options' names or texts; with one row per option.
        missing: What to do about a question with an empty value: refuse the file, or drop the question.
        rewards: Reward of each objective for the options' texts, as NAME=REWARD; instead of --values.
        prompt: Column of the question's text; with --rewards.
        options: Column of all options' texts, in a list or with | between them, in tables with one row per
            question; with --rewards.
        sides: Cases in which two values conflict instead of choices: columns of the two values' names and of
            an agent's adherence to each, as NAMES=SCORES NAMES=SCORES.
        prior: Prior of the weights: flat is uniform, people learns it from the other people's choices.
        lapse: Probability of an answer at random.
        seed: Random seed of the draws.
    """
    if (choices is None) == (trajectories is None):
        raise InputError("give either choices or trajectories", field="choices")
    columns = {"chosen": chosen, "rank": rank, "rating": rating, "person": person, "question": question,
               "option": option}  # fmt: skip
    if trajectories is not None:
        read = {"values": values, "rewards": rewards, "sides": sides, "prompt": prompt, "options": options}
        refuse("requires --choices", **_given({**read, **columns, "missing": missing, "prior": prior}))
        return _of_episodes(trajectories, policies, lapse, seed, out)
    if policies:
        raise InputError("requires --trajectories", field="policies")
    if sum(map(bool, (values, rewards, sides))) > 1:
        raise InputError("give only one of --values, --rewards and --sides", field="values")
    if not values:
        refuse("requires --values", **_given({"missing": missing}))
        if not rewards:
            refuse("requires --values or --rewards", **_given({**columns, "person": ""}))
    for field, given in (("prompt", prompt), ("options", options)):
        if bool(given) > bool(rewards):
            raise InputError("requires --rewards", field=field)
    scales: Mapping[str, float] | None = None
    if rewards:
        if not prompt:
            raise InputError("name the column of the question's text", field="prompt")
        found = _of_texts(str(choices), rewards, TextColumns(**columns, prompt=prompt, options=options), out)
    elif sides:
        found = load_contests(str(choices), sides, person=person)
        # Strengths of a Bradley-Terry model have one unit.
        scales = dict.fromkeys(found[0].question.objectives, 1.0)
    else:
        found = _of_values(str(choices), ChoiceColumns(**columns, values=values, missing=missing))
    people = dict.fromkeys(choice.by for choice in found)
    if len(people) > 1:
        from pluralign.elicit.many import infer_many
        from pluralign.workflows.weights import ManyReport

        many = infer_many(found, prior=prior, scales=scales, lapse=lapse, seed=seed)
        return _say_many(ManyReport(many, found, prior), out)
    if prior == "people":
        raise InputError("needs choices of several people; name their column by --person", field="prior")
    from pluralign.elicit.posterior import infer_weights as infer
    from pluralign.workflows.weights import report_weights

    posterior = infer(found, scales=scales, lapse=lapse, seed=seed)
    return say_weights(report_weights(posterior, found, contradictions=not sides), out)


def _given(options: Mapping[str, object]) -> dict[str, object]:
    """Options, with None for those that have their default."""
    usual = {"chosen": "chosen", "missing": "refuse", "prior": "flat"}
    return {name: value if value and value != usual.get(name) else None for name, value in options.items()}


def _of_values(path: str, columns: ChoiceColumns) -> Sequence[Choice]:
    found = read_choices(path, columns)
    if left_out := found.counts["missing"]:
        say(f"{left_out} of {found.counts['questions']} questions left out: a value is empty")
    return found


def _of_texts(path: str, rewards: tuple[str, ...], columns: TextColumns, out: Path) -> Sequence[Choice]:
    from pluralign.data.text_choices import load_text_choices
    from pluralign.workflows.ask import values_by_rewards

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    if len(named) < 2:
        raise InputError("weights need at least two objectives", field="rewards")
    return load_text_choices(path, columns, values_by_rewards(dict(named), out / "rewards.jsonl"))


def _of_episodes(
    path: Path, policies: tuple[str, ...], lapse: float, seed: int, out: Path
) -> tuple[Figures, int]:
    from pluralign.core.records import read_trajectories
    from pluralign.workflows.weights import weights_of_episodes

    folders = named_folders(policies, "policies", required=True)
    return say_weights(weights_of_episodes(read_trajectories(path), folders, lapse=lapse, seed=seed), out)


def _say_many(report: ManyReport, out: Path) -> tuple[Figures, int]:
    say_table(
        ["quarter", "median", "three quarters"],
        {name: [f"{number:.3f}" for number in own] for name, own in report.quarters.items()},
    )
    for line in report.lines():
        say(line)
    figures = report.save(out)
    wrote(out / "weights.csv", "one row per person; weights.json and weights.svg are next to it")
    return figures, int(report.by_chance)
