from collections import Counter

import pytest
from collect_fakes import HONESTY, SCORE, TowerGame

from pluralign.annotate.agreement import agreement
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.label_agreement import label_agreement
from pluralign.annotate.options import compare_options
from pluralign.annotate.oracle import Noise, Oracle
from pluralign.annotate.rater import Rating
from pluralign.collect.roll_out import roll_out
from pluralign.core import Annotation, Decision, InputError, Objective, Step, Trajectory, UniformPolicy
from pluralign.core.records import read_annotations, read_header, write_records
from pluralign.pair.pairs import make_pairs

DECISIONS = {name: Decision(name, options) for name, options in {
    "two": ("a", "b"), "three": ("a", "b", "c"), "four": ("a", "b", "c", "d"), "one": ("a",)
}.items()}  # fmt: skip


def trajectory(name, *steps):
    """Steps from (decision, action, points)."""
    made = tuple(
        Step(DECISIONS[d], a, counts={"points": p} if p else {}, outcome="What followed.")
        for d, a, p in steps
    )
    return Trajectory(name, "made up", "nobody", 0, made, terminated=True)


@pytest.fixture(scope="module")
def tower():
    return list(roll_out(TowerGame, UniformPolicy(), episodes=40, seed=1, objectives=[SCORE, HONESTY]))


def chosen(comparisons):
    """(prompt, the two options) of each comparison, whichever is listed first."""
    return [
        (c.first.steps[0].decision.prompt, tuple(sorted((c.first.steps[0].action, c.second.steps[0].action))))
        for c in comparisons
    ]


def test_every_pair_of_every_decision_in_order_of_appearance():
    played = [
        trajectory("x", ("one", 0, 0), ("three", 2, 5)),
        trajectory("y", ("two", 0, 0), ("three", 0, 0)),
    ]
    found = compare_options(played, count=100, seed=0)
    assert chosen(found) == [("three", (0, 1)), ("three", (0, 2)), ("three", (1, 2)), ("two", (0, 1))]
    steps = {(s.steps[0].decision.prompt, s.steps[0].action): s for c in found for s in (c.first, c.second)}
    assert steps["three", 2].steps[0].counts == {"points": 5}
    assert steps["three", 1].steps[0].counts == {}
    # An option that nobody took shows nothing that followed; so nor may those that were taken.
    assert not any(segment.steps[0].outcome for segment in steps.values())
    assert len({segment.id for segment in steps.values()}) == len(steps)


def test_a_limit_keeps_whole_decisions_that_most_episodes_meet():
    played = [
        trajectory("x", ("two", 0, 0), ("two", 0, 0), ("two", 1, 0)),
        trajectory("y", ("three", 0, 0), ("four", 0, 0)),
        trajectory("z", ("three", 0, 0), ("four", 1, 0)),
    ]
    # Of the two that two episodes meet, "three" comes first; then "four" with its six pairs does not fit.
    for count, kept in (
        (3, {"three"}),
        (4, {"two", "three"}),
        (9, {"three", "four"}),
        (10, set(DECISIONS) - {"one"}),
    ):
        found = compare_options(played, count=count, seed=0)
        assert {prompt for prompt, _ in chosen(found)} == kept
        assert len(found) <= count
    with pytest.raises(InputError, match="must be 3 or more, the pairs of one decision, found 2"):
        compare_options(played[1:], count=2, seed=0)


def test_a_pair_is_the_same_whatever_else_there_is(tower):
    few = {c.id for c in compare_options(tower[:10], count=12, seed=3)}
    many = {c.id for c in compare_options(tower, count=10_000, seed=3)}
    other = {c.id for c in compare_options(tower, count=10_000, seed=4)}
    assert few < many
    assert len(many) == len(other)
    assert 0.3 < len(many & other) / len(many) < 0.7


@pytest.mark.parametrize("changed", [{"count": 0}, {"seed": -1}])
def test_bad_arguments(tower, changed):
    with pytest.raises(InputError, match="expected a count of one or more"):
        compare_options(tower, **{"count": 1, "seed": 0, **changed})
    with pytest.raises(InputError, match="no decision has two options"):
        compare_options([trajectory("x", ("one", 0, 0))], count=1, seed=0)


@pytest.mark.parametrize("given", [{"length": 2}, {"anchor": "any"}])
def test_what_does_not_go_with_options_is_refused(tower, given):
    with pytest.raises(InputError, match="does not apply to options") as refused:
        ComparisonSettings(of="options", **given).draw(tower)
    assert refused.value.field in given


def test_the_oracle_answers_where_both_options_were_taken():
    played = [
        trajectory("x", ("three", 2, 5)),
        trajectory("y", ("three", 0, 0)),
        trajectory("z", ("three", 2, 1)),
    ]
    comparisons = compare_options(played, count=10, seed=0)
    ratings = Oracle(played).rate(comparisons, SCORE)
    for (_, pair), comparison, rating in zip(chosen(comparisons), comparisons, ratings, strict=True):
        if pair != (0, 2):
            assert rating is None
            continue
        better = "first" if comparison.first.steps[0].action == 2 else "second"
        # The mean of the two steps that took an option counts.
        assert (rating.preference, sorted(rating.info["returns"])) == (better, [0.0, 3.0])


def test_all_pairs_of_a_decision_are_in_one_split_and_none_is_dropped(tower):
    comparisons = compare_options(tower, count=10_000, seed=0)
    annotations = [Annotation(c, "score", "oracle", "first") for c in comparisons]
    for seed in range(3):
        made = make_pairs(annotations, seed=seed, shares=(0.5, 0.25, 0.25))
        assert (len(made.rows), made.counts["across_splits"]) == (len(comparisons), 0)
        splits: dict[str, set[str]] = {}
        for pair in made.rows:
            splits.setdefault(pair.chosen.steps[0].decision.key, set()).add(pair.split)
        assert all(len(found) == 1 for found in splits.values())
        assert set().union(*splits.values()) == {"train", "validation", "test"}


class Prompted:
    """Prefers the option whose index is higher; answers nothing after so many comparisons."""

    name, batch, settings = "judge:last", 4, {}

    def __init__(self, patience=10**9):
        self.patience = patience

    def rate(self, comparisons, objective):
        self.patience -= len(comparisons)
        if self.patience < 0:
            raise InputError("the endpoint is dead")
        later = [c.first.steps[0].action > c.second.steps[0].action for c in comparisons]
        return [Rating("first" if first else "second") for first in later]


def test_a_file_is_continued_and_files_of_segments_keep_their_header(tower, tmp_path):
    source = tmp_path / "t.jsonl"
    write_records(source, "trajectories", tower)
    settings = ComparisonSettings(of="options", count=40)
    with pytest.raises(InputError, match="the same command continues from there"):
        annotate(source, tmp_path / "a.jsonl", SCORE, Prompted(10), settings=settings, progress=False)
    kept = (tmp_path / "a.jsonl").read_bytes()
    report = annotate(source, tmp_path / "a.jsonl", SCORE, Prompted(), settings=settings, progress=False)
    assert (tmp_path / "a.jsonl").read_bytes().startswith(kept)
    assert 0 < report.new_annotations < report.annotations
    annotate(source, tmp_path / "b.jsonl", SCORE, Prompted(), settings=settings, progress=False)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert read_header(tmp_path / "a.jsonl", "annotations")["comparisons"]["of"] == "options"
    annotate(source, tmp_path / "s.jsonl", SCORE, Prompted(), progress=False)
    assert "of" not in read_header(tmp_path / "s.jsonl", "annotations")["comparisons"]
    with pytest.raises(InputError, match="was started with"):
        annotate(source, tmp_path / "s.jsonl", SCORE, Prompted(), settings=settings, progress=False)


def judged(played, right, count=10_000):
    """A rater whose every answer is that of the labels, or its opposite."""
    turned = {"first": "second", "second": "first", "tie": "tie"}
    comparisons = compare_options(played, count=count, seed=0)
    ratings = Oracle(played).rate(comparisons, SCORE)
    return [
        Annotation(c, "score", "judge:j", r.preference if right else turned[r.preference])
        for c, r in zip(comparisons, ratings, strict=True)
        if r is not None
    ]


def test_agreement_with_labels(tower):
    for right in (True, False):
        found = label_agreement(judged(tower, right), tower, SCORE)
        count, ends = found.right.decisions, (found.right.low, found.right.high)
        assert found.right.share == ends[right] == float(right)
        # That n of n decisions are right is no proof that all are: Wilson's interval ends at n / (n + z^2),
        # with fewer than n where some have more comparisons than others.
        assert 1 - count / (count + 1.95996**2) <= abs(ends[right] - ends[not right]) < 0.9
        assert (found.agreement.without_ties.observed, found.agreement.all.kappa > 0.99) == (
            float(right),
            right,
        )
        differing = Counter(a.preference == "tie" for a in judged(tower, right))[False]
        assert found.right.comparisons == differing > found.right.decisions > 1
    assert found.as_json()["right"]["share"] == 0.0


def test_the_share_right_by_hand():
    """Three of four right over two decisions: 1 of 1 and 2 of 3; a tie is half right."""
    played = [
        trajectory("x", ("two", 0, 1), ("three", 0, 0)),
        trajectory("y", ("two", 1, 2), ("three", 1, 1)),
        trajectory("z", ("three", 2, 2)),
    ]
    answers = judged(played, right=True)
    wrong = next(i for i, a in enumerate(answers) if len(a.comparison.first.steps[0].decision.options) == 3)
    turned = {"first": "second", "second": "first"}[answers[wrong].preference]
    for preference, share in ((turned, 3 / 4), ("tie", 3.5 / 4)):
        told = [*answers]
        told[wrong] = Annotation(answers[wrong].comparison, "score", "judge:j", preference)
        found = label_agreement(told, played, SCORE).right
        assert (found.share, found.comparisons, found.decisions) == (share, 4, 2)
        # Decisions of 1 and 3 comparisons count at least as 4^2 / (1 + 9) = 1.6 trials. Their spread says 12
        # and 28, times the square of t of 3 over t of 1 degree of freedom, 0.0627: 0.75 and 1.76.
        ends = {3 / 4: (0.1691, 0.9779), 3.5 / 4: (0.2418, 0.9935)}[share]
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)


def test_comparisons_of_one_decision_count_once():
    """Three right comparisons of a single decision: Wilson's interval of one trial, 1 / (1 + z^2) to 1."""
    played = [
        trajectory("x", ("three", 0, 0)),
        trajectory("y", ("three", 1, 1)),
        trajectory("z", ("three", 2, 2)),
    ]
    found = label_agreement(judged(played, right=True), played, SCORE).right
    assert (found.share, found.comparisons, found.decisions) == (1.0, 3, 1)
    assert (found.low, found.high) == (pytest.approx(0.2065, abs=1e-4), 1.0)


def test_no_labels_no_agreement(tower):
    answers = judged(tower, right=True)
    assert label_agreement(answers, tower, Objective("fame", "Be known.", {"power.social": 1.0})) is None
    assert label_agreement(answers, [trajectory("x", ("two", 0, 3))], SCORE) is None
    assert label_agreement(answers, tower, Objective("fame", "Be known.")) is None


def test_agree_matches_the_two_files(tower, tmp_path):
    source = tmp_path / "t.jsonl"
    write_records(source, "trajectories", tower)
    settings = ComparisonSettings(of="options", count=60)
    for name, rater in (
        ("oracle", Oracle(tower)),
        ("judge", Prompted()),
        ("noisy", Oracle(tower, noise=Noise(0.5))),
    ):
        annotate(source, tmp_path / name, SCORE, rater, settings=settings, progress=False)
    known, told = (read_annotations(tmp_path / name) for name in ("oracle", "judge"))
    assert agreement(known, told) == label_agreement(told, tower, SCORE).agreement
    assert agreement(known, read_annotations(tmp_path / "noisy")).all.kappa < 1
