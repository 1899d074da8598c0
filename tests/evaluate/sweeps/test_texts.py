"""The sweep of texts: what is drawn with which seeds, fronts by hand, and the report."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.evaluate.sweeps import fronts as fronts_module
from pluralign.evaluate.sweeps.alternatives import Alternatives, Writing
from pluralign.evaluate.sweeps.fronts import compare_sides, reference_below
from pluralign.evaluate.sweeps.sides import SideBuilder
from pluralign.evaluate.sweeps.texts import Draw, Side, TextPoint, text_sweep, weighted_writer
from pluralign.evaluate.text_report.model import TextReport
from pluralign.evaluate.text_report.page import make_page, write_text_picture, write_text_report
from pluralign.evaluate.text_report.words import headline, takeaway
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.decoding import Decoding
from pluralign.steer import requests
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.requests import Request

NAMES = ("helpful", "harmless")
GRID = simplex_grid(NAMES, 2)
PROMPTS = ["one", "two", "three"]


def spelled(draws):
    """Texts that say what was asked for."""
    return [f"{d.prompt} {'base' if d.weights is None else d.weights['helpful']} {d.seed}" for d in draws]


def lengths(side, texts):
    """The first objective's reward is the prompt's number, the second's the sample's place."""
    return {
        "helpful": [[float(text.split()[0]) for text in own] for own in texts],
        "harmless": [[float(place) for place in range(len(own))] for own in texts],
    }


def side(label, groups, writer=spelled, **more):
    return Side(label, groups, lambda group: writer, **more)


def test_every_weighting_has_the_same_seeds(tmp_path):
    sides = [side("Steered, geometric", [GRID], batch=4), side("base", [[None]])]
    points = text_sweep(PROMPTS, sides, lengths, samples=2, seed=5, folder=tmp_path)
    assert [(p.side, p.weights) for p in points] == [
        *(("Steered, geometric", weights) for weights in GRID), ("base", None)
    ]  # fmt: skip
    seeds = [[[text.split()[2] for text in own] for own in point.texts] for point in points]
    assert all(own == seeds[0] for own in seeds)
    assert len({seed for own in seeds[0] for seed in own}) == 6
    assert [text.split()[:2] for text in points[1].texts[2]] == [["2", "0.5"]] * 2
    np.testing.assert_array_equal(points[0].rewards["helpful"], [0.0, 1.0, 2.0])
    # The scorer gets a prompt's texts of all weightings together; each point takes its own.
    assert [float(p.rewards["harmless"][0]) for p in points] == [0.5, 2.5, 4.5, 0.5]
    lines = (tmp_path / "texts" / "steered-geometric.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 18
    assert rows[0]["weights"] == {"helpful": 0.0, "harmless": 1.0}
    other = text_sweep(PROMPTS, sides, lengths, samples=2, seed=6, folder=tmp_path / "other")
    assert other[0].texts[0] != points[0].texts[0]


def test_groups_are_opened_one_after_another_and_batches_bounded(tmp_path):
    opened, sizes = [], []

    def writer(draws):
        sizes.append(len(draws))
        assert {draw.weights for draw in draws} <= set(opened[-1])
        return spelled(draws)

    def open_group(group):
        opened.append(list(group))
        return writer

    sides = [Side("soups", [GRID[:2], GRID[2:]], open_group, batch=4), side("base", [[None]])]
    text_sweep(PROMPTS, sides, lengths, samples=1, seed=0, folder=tmp_path)
    assert opened == [GRID[:2], GRID[2:]]
    assert sizes == [4, 2, 3]


def test_texts_of_another_precision_are_not_continued():
    folders = dict.fromkeys(NAMES, Path("tiny-random"))

    def made_from(dtype):
        builder = SideBuilder(folders, ["Say a:"], Writing("tiny-random", dtype=dtype), {})
        found = builder.sides(GRID, [0.0], Alternatives(baselines=()))
        assert "dtype" not in found[0].made_from or found[0].made_from["dtype"] == dtype
        return [json.dumps(one.made_from) for one in found]

    float32, bfloat16, float16 = (made_from(name) for name in ("float32", "bfloat16", "float16"))
    assert all(len(set(own)) == 3 for own in zip(float32, bfloat16, float16, strict=True))


def test_texts_of_a_base_model_that_was_replaced_are_not_taken_for_those_of_the_new_one(tmp_path):
    model, made = tmp_path / "model", []
    for seed in (0, 1, 1):
        backbone = make_tiny_backbone(seed)
        backbone.model.save_pretrained(model)
        backbone.tokenizer.save_pretrained(model)
        folders = dict.fromkeys(NAMES, model)
        builder = SideBuilder(folders, ["Say a:"], Writing(str(model), dtype="float32"), {})
        found = builder.sides(GRID, [0.0], Alternatives())
        made.append([json.dumps(one.made_from) for one in found])
    assert all(before != after for before, after in zip(*made[:2], strict=True))
    assert made[1] == made[2]


def test_what_cannot_be_swept_is_refused(tmp_path):
    def sweep(sides, prompts=PROMPTS, samples=1):
        text_sweep(prompts, sides, lengths, samples=samples, seed=0, folder=tmp_path)

    with pytest.raises(InputError, match="two sides have the same name"):
        sweep([side("A b", [GRID]), side("a-b", [GRID])])
    with pytest.raises(InputError, match="not all distinct"):
        sweep([side("a", [GRID, GRID[:1]])])
    with pytest.raises(InputError, match="expected one or more distinct prompts"):
        sweep([side("a", [GRID])], ["x", "x"])
    with pytest.raises(InputError, match="must be at least 1, found 0"):
        sweep([side("a", [GRID])], samples=0)
    sweep([side("a", [GRID], made_from={"policy": 1})])
    with pytest.raises(InputError, match="holds texts of another sweep"):
        sweep([side("a", [GRID], made_from={"policy": 2})])


def test_a_small_budget_of_tokens_changes_no_text(monkeypatch):
    backbone = load_backbone("tiny-random")
    tokens = [list(backbone.tokenizer(text)["input_ids"]) for text in ("hello there", "a", "what is it?")]
    rows = AdapterRows(backbone, {"base": None})
    decoding = Decoding(6)
    weights = SteeringWeights(base=1.0)
    expected = [
        MixtureDecoder(rows).generate([Request(tokens[i], weights, decoding, i)])[0] for i in range(3)
    ]
    for budget in (1, 12, 1000):
        monkeypatch.setattr(requests, "_PROMPT_TOKENS", budget)
        writer = weighted_writer(rows, 0.0, lambda d: (tokens[d.prompt], weights), decoding)
        assert writer([Draw(i, None, i) for i in range(3)]) == expected


def point(label, weights, helpful, harmless):
    rewards = {"helpful": np.array(helpful, float), "harmless": np.array(harmless, float)}
    return TextPoint(label, weights, rewards, [["text"]] * len(helpful))


def test_hypervolumes_by_hand():
    # The base's rewards are 1 and 3, so 2 is the origin and sqrt(2) the unit; harmless alike about 0.
    root = np.sqrt(2)
    points = [
        point("base", None, [1, 3], [-1, 1]),
        point("steered", GRID[0], [2, 2], [2 * root] * 2),
        point("steered", GRID[1], [2 + root, 2 + root], [root] * 2),
        point("steered", GRID[2], [2 + 0.5 * root] * 2, [0.5 * root] * 2),
        point("soups", GRID[1], [2 + root] * 2, [0, 0]),
    ]
    fronts = compare_sides(points, NAMES)
    np.testing.assert_allclose(fronts.origin, [2, 0])
    np.testing.assert_allclose(fronts.unit, [root, root])
    # Means from 0 to 1 and from 0 to 2: a tenth below.
    np.testing.assert_allclose(fronts.reference, [-0.1, -0.2])
    steered, soups = fronts.sides
    np.testing.assert_allclose(steered.means, [[0, 2], [1, 1], [0.5, 0.5]])
    # (0, 2) has 0.1 x 2.2; (1, 1) adds 1.0 x 1.2; (0.5, 0.5) is dominated. (1, 0) alone has 1.1 x 0.2.
    assert steered.hypervolume.mean == pytest.approx(0.1 * 2.2 + 1.0 * 1.2)
    assert steered.front == (0, 1)
    assert soups.hypervolume.mean == pytest.approx(1.1 * 0.2)
    assert soups.lead is not None
    assert soups.lead.mean == pytest.approx(1.42 - 0.22)
    # These points are alike on both prompts: no resample changes anything.
    assert (soups.lead.low, soups.lead.high) == pytest.approx((1.2, 1.2))
    assert steered.lead is None


def noisy(shift=0.0, prompts=40):
    """Two sides that differ by a shift, whose prompts' difficulty they have in common."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(2, prompts)) * 2
    points = [point("base", None, *(hard + rng.normal(size=hard.shape) * 0.1))]
    for label, more in (("steered", shift), ("soups", 0.0)):
        for weights in GRID:
            mean = np.array([weights["helpful"], weights["harmless"]])[:, None] + more
            points.append(point(label, weights, *(hard + mean + rng.normal(size=hard.shape) * 0.1)))
    return points


def test_the_bootstrap_is_paired_and_seeded():
    first, again, other = (compare_sides(noisy(0.2), NAMES, seed=seed) for seed in (1, 1, 2))
    told = [[(s.hypervolume, s.lead) for s in fronts.sides] for fronts in (first, again, other)]
    assert told[0] == told[1]
    assert told[0] != told[2]
    steered, soups = first.sides
    assert soups.lead is not None
    assert soups.lead.mean == pytest.approx(steered.hypervolume.mean - soups.hypervolume.mean)
    # What the prompts have in common cancels: unpaired, the difference would be as unsure as its parts.
    assert soups.lead.stderr < 0.3 * np.hypot(steered.hypervolume.stderr, soups.hypervolume.stderr)
    assert soups.lead.low > 0
    assert "That is more than soups." in takeaway(first)
    assert "That is less than soups." in takeaway(compare_sides(noisy(-0.2), NAMES))
    assert "That is not distinguishable from soups." in takeaway(compare_sides(noisy(0.0), NAMES))


@pytest.mark.parametrize("prompts", [2, 3, 5])
def test_few_prompts_do_not_tell_equal_sides_apart(prompts, monkeypatch):
    """By percentiles two prompts do in half of the cases, and three in a quarter."""
    monkeypatch.setattr(fronts_module, "_RESAMPLES", 200)
    rng = np.random.default_rng(0)
    apart, moved = 0, 0
    for trial in range(120):
        hard = rng.normal(size=(2, prompts))
        sides = [(label, weights) for label in ("steered", "soups") for weights in GRID]
        points = [
            point(label, weights, *(hard + rng.normal(size=hard.shape)))
            for label, weights in [("base", None), *sides]
        ]
        fronts = compare_sides(points, NAMES, seed=trial)
        apart += "not distinguishable" not in takeaway(fronts)
        moved += "no measurable difference" not in headline(fronts)
    assert apart <= 12
    # Either of two rewards may be moved upwards, each in 2.5 % of the cases.
    assert moved <= 14


def test_scale_and_reference_point():
    np.testing.assert_allclose(reference_below(np.array([[0.0, 5.0], [2.0, 5.0]])), [-0.2, 4.9])
    flat = [point("base", None, [1, 1], [0, 2]), point("steered", GRID[0], [3, 3], [0, 2])]
    # A base of one reward has no deviation: the unit stays.
    np.testing.assert_allclose(compare_sides(flat, NAMES).unit, [1.0, np.sqrt(2)])
    # The deviation of three times 0.1 is what their mean is rounded by.
    tenth = [point("base", None, [0.1] * 3, [0, 1, 2]), point("steered", GRID[0], [0.1, 0.2, 3], [0, 1, 2])]
    np.testing.assert_allclose(compare_sides(tenth, NAMES).unit, [1.0, 1.0])
    moved = [replace(p, rewards={n: 5 * v - 3 for n, v in p.rewards.items()}) for p in noisy(0.2)]
    for a, b in zip(compare_sides(noisy(0.2), NAMES).sides, compare_sides(moved, NAMES).sides, strict=True):
        assert a.hypervolume.mean == pytest.approx(b.hypervolume.mean)


def test_a_constant_reward_has_no_unit_of_its_own():
    # The deviation of six times 0.1 is 1.5e-17, which is the rounding of their mean.
    base = point("base", None, [0.1] * 6, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    ends = [point("steered", w, [w] * 6, [0.0, 1.0, 2.0, 1.0, 0.0, 1.0]) for w in (0.0, 1.0)]
    fronts = compare_sides([*ends, base], ["helpful", "harmless"])
    assert fronts.unit[0] == 1.0
    assert fronts.sides[0].means[:, 0].tolist() == pytest.approx([-0.1, 0.9])


@pytest.mark.parametrize("order", list(permutations([1 / 3, 2 / 3, 1.0, 0.2]))[:6])
def test_the_order_of_prompts_decides_no_hypervolume(order):
    plain = [1 / 3, 2 / 3, 1.0, 0.2]
    sides = [
        point("steered", 1.0, [1.0, 2.0, 3.0, 4.5], order),
        point("steered", 0.0, [0.0, 2.0, 3.0, 4.0], plain),
        point("base", None, [0.0, 1.0, 2.0, 2.0], plain),
    ]  # fmt: skip
    fronts = compare_sides(sides, ["helpful", "harmless"])
    assert fronts.reference[1] == pytest.approx(-0.1)
    assert fronts.sides[0].hypervolume.mean == pytest.approx(0.157975, abs=1e-6)
    assert fronts.sides[0].front == (0,)


def test_what_cannot_be_compared_is_refused():
    points = noisy()
    with pytest.raises(InputError, match="expected 'base', another side"):
        compare_sides(points[1:], NAMES)
    with pytest.raises(InputError, match="expected 'base', another side"):
        compare_sides(points[:1], NAMES)
    with pytest.raises(InputError, match="at least two prompts"):
        compare_sides([point("base", None, [1], [1]), point("steered", GRID[0], [1], [1])], NAMES)
    with pytest.raises(InputError, match="not finite"):
        compare_sides([*noisy(prompts=2), point("soups", GRID[0], [1, np.nan], [1, 1])], NAMES)


def test_the_report_says_what_was_measured(tmp_path):
    points = [replace(p, texts=[[f"<b>{p.side} {i}</b>"] for i in range(40)]) for p in noisy(0.2)]
    prompts = [f"Say <i>{i}</i>." for i in range(40)]
    report = TextReport(compare_sides(points, NAMES), prompts, {"steps": 2}, notes=["A note."])
    data, page = write_text_report(report, tmp_path)
    found = json.loads(data.read_text())
    assert found["sweep"][0]["weights"] == {"helpful": 0.0, "harmless": 1.0}
    assert found["sides"][1]["points"][2]["by_prompt"]["helpful"] == points[6].rewards["helpful"].tolist()
    assert found["scale"]["margin"] == 0.1
    text = page.read_text()
    assert headline(report.fronts) == (
        "Shifting the weight between helpful and harmless moves both rewards, with no retraining"
    )
    assert headline(report.fronts) in text
    assert "&lt;b&gt;steered 0&lt;/b&gt;" in text
    assert "Say &lt;i&gt;3&lt;/i&gt;." in text
    assert "Say &lt;i&gt;4&lt;/i&gt;." not in text
    assert "<b>steered" not in text
    assert "A note." in text
    assert not re.search(r'(?:src|href)="https?:', text)
    picture = write_text_picture(report, tmp_path / "picture.svg").read_text()
    assert "w = 0.5" in picture
    assert picture == write_text_picture(report, tmp_path / "again.svg").read_text()


def test_rewards_of_several_samples_are_not_told_as_those_of_the_one_shown():
    points = [replace(p, texts=[["one", "two", "three"]] * 40) for p in noisy(0.2)]
    report = TextReport(compare_sides(points, NAMES), [str(number) for number in range(40)])
    assert "<small>mean of 3 samples: helpful " in make_page(report)
    alone = replace(report, fronts=compare_sides([replace(p, texts=[["one"]] * 40) for p in points], NAMES))
    assert "samples: " not in make_page(alone)


def test_three_objectives_are_told_by_all_their_weights(tmp_path):
    names = ("a", "b", "c")
    rng = np.random.default_rng(1)
    grid = simplex_grid(names, 2)
    points = [
        TextPoint(label, weights, {n: rng.normal(size=5) for n in names}, [["x"]] * 5)
        for label, own in (("steered", grid), ("base", [None]))
        for weights in own
    ]
    report = TextReport(compare_sides(points, names), ["p"] * 5)
    page = write_text_report(report, tmp_path)[1].read_text()
    assert "0.5 / 0 / 0.5" in page
    assert len(report.to_json()["sweep"]) == 6


def test_weight_that_moves_between_two_of_three_objectives_leaves_the_third_alone():
    names, prompts = ("a", "b", "c"), np.arange(4.0)
    # Only the third objective's policy is worse, in everything.
    points = [
        TextPoint("steered", weights, dict.fromkeys(names, prompts - weights["c"]), [["x"]] * 4)
        for weights in simplex_grid(names, 1)
    ]
    points.append(TextPoint("base", None, dict.fromkeys(names, prompts), [["x"]] * 4))
    assert headline(compare_sides(points, names)).endswith("made no measurable difference to the rewards")
