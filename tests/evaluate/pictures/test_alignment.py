"""Pictures: files that are whole, equal for equal figures, and say what was measured."""

import re

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.evaluate.pictures.alignment import Curve, HeatPanel, draw_curves, draw_scores, draw_separation
from pluralign.evaluate.report.svg import draw_alone
from pluralign.evaluate.statistics import Estimate


def around(mean, half=0.1):
    return Estimate(mean, half / 2, mean - half, mean + half)


CURVES = {
    "irl": Curve([around(0.1 * n) for n in range(9)], [around(0.5 + 0.04 * n) for n in range(9)]),
    "bt": Curve([around(0.05 * n) for n in range(9)], [around(0.5 + 0.02 * n) for n in range(9)]),
}
SCORES = {"Harmless": {"SFT": around(1.13), "DPO": around(-0.21)}, "Helpful": {"SFT": around(0.7)}}
PANELS = [HeatPanel("sources", ["init < sft", "sft < demo"], np.array([[0.93, 0.52], [0.5, np.nan]]))]


def words(path):
    """The texts of an SVG: matplotlib draws glyphs, and leaves what they say in comments."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def draw_all(folder, suffix):
    draw_scores(SCORES, folder / f"scores{suffix}")
    draw_curves(CURVES, folder / f"curves{suffix}")
    draw_separation(["irl", "bt"], PANELS, folder / f"heat{suffix}")
    return [folder / f"{name}{suffix}" for name in ("scores", "curves", "heat")]


def test_equal_figures_give_equal_files(tmp_path):
    one, other = ([path.read_bytes() for path in draw_all(tmp_path / part, ".svg")] for part in "ab")
    assert one == other
    assert len(set(one)) == 3
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "curves.svg",
        "heat.svg",
        "scores.svg",
    ]


def test_rewards_that_are_not_normalised_have_no_marks(tmp_path):
    draw_scores(SCORES, tmp_path / "plain.svg", label="golden reward")
    draw_scores(SCORES, tmp_path / "scaled.svg")
    plain, scaled = words(tmp_path / "plain.svg"), words(tmp_path / "scaled.svg")
    assert "golden reward, with 95 % intervals" in plain
    assert "demonstrations" not in plain
    assert "base" not in plain
    assert {"base", "demonstrations", "normalised golden reward, with 95 % intervals"} <= set(scaled)


def test_png(tmp_path):
    for path in draw_all(tmp_path, ".png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_scores_are_named_and_written(tmp_path):
    draw_scores(SCORES, tmp_path / "a.svg")
    found = words(tmp_path / "a.svg")
    assert {"Harmless", "Helpful", "SFT", "DPO", "1.13", "−0.21", "0.70", "base", "demonstrations"} <= {
        *found
    }


def test_curves_have_n_below_and_nats_above(tmp_path):
    draw_curves(CURVES, tmp_path / "a.svg")
    found = words(tmp_path / "a.svg")
    assert {"1", "2", "4", "8", "irl", "bt", "N"} <= {*found}
    assert any("upper bound, nats" in word for word in found)
    assert found.count("irl") == 1, "one legend, for both panels"
    draw_curves({"irl": Curve(CURVES["irl"].golden)}, tmp_path / "b.svg", label="golden reward")
    assert "demonstrations" not in words(tmp_path / "b.svg")
    assert words(tmp_path / "b.svg").count("N") == 1


@pytest.mark.parametrize("samples", [1, 2, 3, 1000])
def test_any_number_of_samples_and_infinite_ends(tmp_path, samples):
    open_ended = Estimate(0.3, 0.1, -np.inf, np.inf)
    draw_curves({"a": Curve([open_ended] * samples), "b": Curve([around(0.2)] * samples)}, tmp_path / "a.svg")
    draw_scores({"": {"a": open_ended}}, tmp_path / "b.svg")
    assert "0.30" in words(tmp_path / "b.svg")


def test_heat_map_writes_every_cell(tmp_path):
    draw_separation(["irl", "bt"], [*PANELS, *PANELS], tmp_path / "a.svg")
    found = words(tmp_path / "a.svg")
    for word in ("0.93", "0.52", "–", "init &lt; sft"):
        assert found.count(word) == 2, word
    assert found.count("irl") == 1


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"\.svg or \.png"):
        draw_scores(SCORES, tmp_path / "a.pdf")
    for draw in (
        lambda: draw_scores({}, tmp_path / "a.svg"),
        lambda: draw_scores({"a": {}}, tmp_path / "a.svg"),
        lambda: draw_curves({}, tmp_path / "a.svg"),
        lambda: draw_curves({"a": Curve([])}, tmp_path / "a.svg"),
        lambda: draw_separation(["a"], PANELS, tmp_path / "a.svg"),
        lambda: draw_separation([], [], tmp_path / "a.svg"),
    ):
        with pytest.raises(InputError, match=r"to draw|shapes"):
            draw()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["$5 now or $9 later", "$1 million_% of $2"])
def test_dollars_are_no_formulas(tmp_path, name):
    draw_scores({"Task": {name: around(0.5)}}, tmp_path / "scores.svg")
    assert name in words(tmp_path / "scores.svg")
    assert f">{name}</text>" in draw_alone("one", "", lambda figure, narrow: figure.text(0, 0, name), (2, 2))
