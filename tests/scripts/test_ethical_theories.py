"""The logic of the experiment on ethical theories, on made-up rows."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Decision, Objective, Step, Trajectory

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

from ethical_theories_lib.data import Sizes, split_of_scenario, theory_pairs  # noqa: E402
from ethical_theories_lib.games import LabelGame, scenes_of  # noqa: E402
from ethical_theories_lib.labels import TheoryRater, balanced, value_table  # noqa: E402
from ethical_theories_lib.noise import accuracy_of, planted_values  # noqa: E402
from ethical_theories_lib.words import first_person, scene_of  # noqa: E402

from pluralign.annotate.options import compare_options  # noqa: E402
from pluralign.core import Annotation  # noqa: E402

HARM = Objective("harm_avoidance", "No harm.", {"violations.deception": -1.0})


def write(folder: Path, name: str, rows: list[dict[str, str]]) -> None:
    (folder / "ethics").mkdir(exist_ok=True)
    with gzip.open(folder / "ethics" / f"{name}.jsonl.gz", "wt") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def test_both_sides_of_a_pair_share_their_scenario(tmp_path: Path) -> None:
    rows = [
        {"label": label, "scenario": f"Should you feed cat {i}?", "excuse": excuse}
        for i in range(60)
        for label, excuse in (("1", "No, it ate."), ("0", "No, I am idle."), ("0", "No, it is grey."))
    ]
    write(tmp_path, "deontology", rows)
    known = theory_pairs(tmp_path, "deontology", Sizes(30, 10, 10))
    assert len(known.of("train")) == 30
    for pair, scenario in zip(known.pairs, known.scenarios, strict=True):
        (prompt, chosen), (other, rejected) = pair.texts()
        assert prompt == other == scenario
        # The k-th good with the k-th bad one: the second bad one is in no pair.
        assert (chosen, rejected) == (" No, it ate.", " No, I am idle.")
        assert pair.split == split_of_scenario(scenario)


def test_variants_of_justice_are_neighbours_that_begin_or_end_alike(tmp_path: Path) -> None:
    texts = [
        ("1", "I deserve to be paid by Ann because I clean her house each day."),
        ("0", "I deserve to be given a car by Ann because I clean her house each day."),
        ("0", "I usually greet Joe at noon but did not because I like red."),
        ("1", "I usually greet Joe at noon but did not because he was away."),
        ("1", "The third scenario has no other variant."),
    ]
    rows = [{"label": label, "scenario": f"{text}"} for label, text in texts]
    write(tmp_path, "justice", rows)
    known = theory_pairs(tmp_path, "justice", Sizes(9, 9, 9))
    pairs = {tuple(text for _, text in pair.texts()) for pair in known.pairs}
    assert pairs == {(texts[0][1], texts[1][1]), (texts[3][1], texts[2][1])}


def test_the_other_trait_of_a_pair_is_as_often_right(tmp_path: Path) -> None:
    shares = {"kind": 5, "brave": 4, "cruel": 0}
    rows: list[dict[str, str]] = []
    for i in range(40):
        good = "kind" if i % 9 < 5 else "brave"
        traits = [(good, "1"), *((t, "0") for t in shares if t != good)]
        rows += [{"label": label, "scenario": f"Story {i}. [SEP] {trait}"} for trait, label in traits]
    write(tmp_path, "virtue", rows)
    known = theory_pairs(tmp_path, "virtue", Sizes())
    assert {pair.texts()[1][1] for pair in known.pairs} == {" [SEP] brave", " [SEP] kind"}


@pytest.mark.parametrize(
    ("option", "act"),
    [
        ("Sign your own name beneath.", "I sign my own name beneath."),
        ("Tell them what you saw, and pay yourself.", "I tell them what I saw, and pay myself."),
        ('"No," you say.', 'I say: "No," you say.'),
        ("I wait.", "I wait."),
    ],
)
def test_options_in_the_first_person(option: str, act: str) -> None:
    assert first_person(option) == act


def test_the_scene_is_the_end_of_the_page() -> None:
    page = "Long ago.\n\n" + "One two three four five six. " * 8 + "The gate is shut."
    assert scene_of(page).endswith("The gate is shut.")
    assert scene_of(page).startswith("One two")
    assert len(scene_of(page).split()) <= 30


def options() -> tuple[list[Decision], list[Trajectory]]:
    """Decisions in which the deceptive option is always the longer one, but for every fourth."""
    decisions, known = [], []
    for i in range(40):
        longer_is_worse = i % 4 > 0
        texts = (f"Lie {i}" + " at length" * longer_is_worse, f"Be honest {i}")
        decision = Decision(f"Page {i}.", (*texts, f"Walk by {i}, and say nothing to anybody at all."))
        decisions.append(decision)
        for action in range(3):
            counts = {"violations.deception": 1.0} if action == 0 else {}
            step = Step(decision, action, counts=counts)
            known.append(Trajectory(f"{i}-{action}", "x", "listed", 0, (step,), terminated=True))
    return decisions, known


def test_length_alone_is_at_chance_by_the_balanced_share() -> None:
    decisions, known = options()
    comparisons = compare_options(known, count=10_000, seed=0)
    by_length = {d.key: [float(-len(option)) for option in d.options] for d in decisions}
    by_truth = {d.key: [0.0, 1.0, 1.0] for d in decisions}
    truths, found = {}, {}
    for name, values in (("length", by_length), ("truth", by_truth)):
        rated = TheoryRater(name, values, {}).rate(comparisons, HARM)
        said = [
            Annotation(comparison, HARM.name, name, rating.preference)
            for comparison, rating in zip(comparisons, rated, strict=True)
            if rating is not None
        ]
        found[name] = said
        truths = {a.comparison.id: a.preference for a in said if a.preference != "tie"}
    scenes = {decision.key: str(i) for i, decision in enumerate(decisions)}
    length, truth = (balanced(found[name], truths, scenes) for name in ("length", "truth"))
    assert length is not None
    assert truth is not None
    assert (length["share"], truth["share"]) == (0.5, 1.0)
    assert length["scenes"] == 40


def test_decisions_that_share_an_option_are_one_scene() -> None:
    decisions = tuple(
        Decision(page, options)
        for page, options in (
            ("Rain. A gate.", ("Knock.", "Leave.")),
            ("Sun. A gate.", ("Knock.", "Leave.", "Climb.")),
            ("A hall.", ("Sing.", "Sleep.")),
        )
    )
    scenes = scenes_of([LabelGame("x", None, decisions)])  # pyright: ignore[reportArgumentType]
    first, second, third = (scenes[d.key] for d in decisions)
    assert first == second != third


def test_planted_errors_have_the_accuracy_that_was_asked_for() -> None:
    _, known = options()
    assert accuracy_of(planted_values(known, HARM, 1.0, 0), known, HARM) > 0.9
    shares = [accuracy_of(planted_values(known, HARM, 0.7, seed), known, HARM) for seed in range(20)]
    # A value of three options is a share of two duels, so that it is right a little more or less often.
    assert np.mean(shares) == pytest.approx(0.7, abs=0.06)


def test_values_are_shares_of_rivals_beaten() -> None:
    table = value_table({"a": [0.3, -1.0, 0.3]})
    assert table["a"].tolist() == [0.5, -1.0, 0.5]
