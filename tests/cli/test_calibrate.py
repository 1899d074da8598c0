"""Dials from a sweep with a small budget, as a person would make and use them."""

import json

import numpy as np
import pytest

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json, write_json
from pluralign.evaluate.sweeps.outcomes import predictions
from pluralign.evaluate.sweeps.story import sweep_story
from pluralign.steer.suggest import constant_weights, load_dial, open_weights

NAMES = ("score", "harm_avoidance", "power_avoidance")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    from pluralign.core import UniformPolicy

    class First(UniformPolicy):
        """Takes one place of the list more often."""

        def __init__(self, place):
            self.name, self._place = f"place {place}", place

        def log_probs(self, decisions):
            import numpy as np

            found = []
            for decision in decisions:
                shares = np.ones(len(decision.options))
                shares[self._place % len(shares)] = 6.0
                found.append(np.log(shares / shares.sum()))
            return found

    folder = tmp_path_factory.mktemp("sweep")
    policies = {name: First(place) for place, name in enumerate(NAMES)}
    found = sweep_story(
        policies, "salt_ledger", budget=7, episodes=20, folder=folder / "runs", say=lambda _: None
    )
    assert len(found.points) == 7
    found.save(folder)
    return folder


def test_a_predicted_front_is_evaluated(swept, run, tmp_path, capsys):
    dial = tmp_path / "dial"
    assert run("calibrate", "--sweep", swept, "--out", dial) == 0
    same = [arg for name in NAMES for arg in (f"{name}=random",)]
    checked = ("sweep", "--policies", *same, "--story", "salt_ledger", "--episodes", "4", "--dial", dial)
    capsys.readouterr()
    figures = tmp_path / "figures.json"
    assert run(*checked, "--budget", "5", "--out", tmp_path / "checked", "--json", figures) == 0
    assert "predicted outcomes of the dial's front" in capsys.readouterr().out
    # All mixtures are random play, which the dial's agents were not.
    found = predictions(dial, tmp_path / "checked")
    assert 3 <= len(found.weightings) <= 5
    assert np.ptp(found.found, axis=0).max() == 0
    assert np.ptp(found.predicted, axis=0).max() > 1
    assert found.predicted.tolist() == read_json(figures)["predicted"]
    front = {weights.to_text() for weights in load_dial(dial).front()}
    assert {weights.to_text() for weights in found.weightings} <= front
    # Where the dial saw the outcomes, it promises what is there.
    seen = predictions(dial, swept)
    assert seen.predicted == pytest.approx(seen.found, rel=0.3, abs=3)
    assert abs(seen.optimism) < 0.3
    with pytest.raises(InputError, match=r"dial': is for score, harm_avoidance, power_avoidance; policies"):
        sweep_story({"score": "random", "kind": "random"}, "salt_ledger", dial=dial)
    assert run(*checked, "--steps", "3", "--out", tmp_path / "other") == 2
    assert "steps" in capsys.readouterr().err


def test_a_dial_from_a_story(swept, run, tmp_path, capsys):
    assert (
        run("calibrate", "--sweep", swept, "--out", tmp_path / "dial", "--json", tmp_path / "figures.json")
        == 0
    )
    told = capsys.readouterr().out
    assert "predicted front" in told
    assert "dial.json" in told
    figures = read_json(tmp_path / "figures.json")
    assert figures["points"] == 7
    assert (tmp_path / "dial" / "dial.svg").stat().st_size > 1000
    dial = load_dial(tmp_path / "dial")
    report = read_json(swept / "report.json")
    corner = next(point for point in report["sweep"] if point["weights"]["score"] == 1)
    assert dial.at(SteeringWeights(score=1.0)) == pytest.approx(corner["returns"], rel=0.2, abs=2)
    wish = SteeringWeights(score=0.4, harm_avoidance=0.6)
    assert constant_weights(f"wish:{tmp_path / 'dial'}:score=0.4,harm_avoidance=0.6") == dial.weights_for(
        wish
    )
    equal = open_weights(f"auto:{tmp_path / 'dial'}").suggest(["a"])
    for one in (open_weights(f"auto:{tmp_path / 'dial'}"), open_weights("kind=1")):
        with pytest.raises(InputError, match="found one: 'abc'"):
            one.suggest("abc")
    assert equal == [dial.weights_for(SteeringWeights.uniform(NAMES))]
    # A dial may be made again in its folder, but not in another's.
    assert run("calibrate", "--sweep", swept, "--out", tmp_path / "dial") == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    assert run("calibrate", "--sweep", swept, "--out", tmp_path / "other") == 2


def test_a_dial_from_texts(run, tmp_path):
    def points(shift):
        return [
            {"weights": {"calm": w, "fun": 1 - w}, "rewards": {"calm": w + shift, "fun": 1 - w * w}}
            for w in (0.0, 0.25, 0.5, 1.0)
        ]

    sides = [
        {"label": "steered (geometric mean)", "points": points(0)},
        {"label": "rewarded soups", "points": points(5)},
    ]
    write_json(
        tmp_path / "report.json", {"pluralign": "text_sweep", "objectives": ["calm", "fun"], "sides": sides}
    )
    assert run("calibrate", "--sweep", tmp_path, "--out", tmp_path / "a") == 0
    assert run("calibrate", "--sweep", tmp_path, "--side", "rewarded soups", "--out", tmp_path / "b") == 0
    half = SteeringWeights(calm=0.5, fun=0.5)
    assert load_dial(tmp_path / "a").at(half) == pytest.approx({"calm": 0.5, "fun": 0.75})
    assert load_dial(tmp_path / "b").at(half) == pytest.approx({"calm": 5.5, "fun": 0.75})


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"pluralign": "demo"}, "expected the report.json of a sweep"),
        ({"pluralign": "report", "objectives": ["a", "b"], "sweep": []}, "3 or more weightings"),
        (
            {
                "pluralign": "report",
                "objectives": ["a", "b"],
                "sweep": [{"weights": {"a": 1}, "returns": {"a": 1}}],
            },
            "has no 'b'",
        ),
        ({"pluralign": "text_sweep", "objectives": ["a", "b"], "sides": []}, "found ''"),
    ],
)
def test_wrong_reports_are_refused(run, tmp_path, capsys, report, message):
    write_json(tmp_path / "report.json", report)
    assert run("calibrate", "--sweep", tmp_path, "--out", tmp_path / "dial") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "dial").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pluralign": "x"}, "expected a dial"),
        ({"link": "cubic"}, "expected identity"),
        ({"outcomes": [["x", 1]]}, "is no dial"),
        ({"weightings": [[0.5, 0.6]]}, "is no dial|sum to 1"),
    ],
)
def test_wrong_dials_are_refused(swept, run, tmp_path, change, message):
    from pluralign.core import InputError

    assert run("calibrate", "--sweep", swept, "--out", tmp_path / "dial") == 0
    path = tmp_path / "dial" / "dial.json"
    path.write_text(json.dumps({**read_json(path), **change}))
    with pytest.raises(InputError, match=message):
        load_dial(path)


@pytest.mark.parametrize("text", ["wish:", "wish:nowhere:score=1", "wish:score=1", "auto:nowhere", "auto:"])
def test_wrong_wishes_are_refused(text):
    from pluralign.core import InputError

    with pytest.raises(InputError):
        open_weights(text)


def test_a_budget_replaces_the_grid(run, tmp_path, capsys):
    folders = [f"{name}={tmp_path}" for name in NAMES]
    sweep = ("sweep", "--policies", *folders, "--story", "salt_ledger", "--out", tmp_path / "out")
    assert run(*sweep, "--budget", 8, "--steps", 4) == 2
    assert "given together with --budget" in capsys.readouterr().err
