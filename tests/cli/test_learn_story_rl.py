"""`learn story-rl` as a person would use it: a policy that plays, is swept, and can be started from."""

import json

import pytest


@pytest.fixture
def command(story, tmp_path):
    return (
        "learn", "story-rl", "--story", story, "--model", "tiny-random", "--features", tmp_path / "features",
        "--config.rounds", 3, "--config.block", 2, "--config.episodes", 4, "--config.decisions", 3,
        "--config.samples", 3,
    )  # fmt: skip


def test_the_policy_plays_and_is_swept(run, command, story, tmp_path, capsys):
    for name, other in (("score", "harm_avoidance"), ("harm_avoidance", "score")):
        weights = ("--weights", f"{name}=1,{other}=0")
        assert run(*command, *weights, "--out", tmp_path / name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["round", str(i)] for i in (0, 2, 3)]
    card = json.loads((tmp_path / "score" / "card.json").read_text())
    assert (card["pluralign"], card["method"], card["name"]) == ("option_policy", "story-rl", "score")
    assert card["data"]["episodes"] == 3 * 16 + 3 * (4 + 9)
    assert run("evaluate", "play", "--story", story, "--policy", tmp_path / "score", "--episodes", 3) == 0
    assert "score on" in capsys.readouterr().out
    policies = [f"{name}={tmp_path / name}" for name in ("score", "harm_avoidance")]
    sweep = ("sweep", "--policies", *policies, "--story", story, "--steps", 2, "--episodes", 2)
    assert run(*sweep, "--out", tmp_path / "sweep") == 0
    more = ("--initial", tmp_path / "score", "--at-least", "harm_avoidance=+0.2sd", "--config.kl", 1)
    assert run(*command, *more, "--out", tmp_path / "careful") == 0
    assert "multipliers of standardised rewards" in capsys.readouterr().out


def test_it_refuses_in_one_line(refuses, command, tmp_path):
    def told(*options):
        return refuses(*command, "--out", tmp_path / "out", *options)

    assert "give weights, or a target" in told()
    weights = ("--weights", "score=0.5,harm_avoidance=0.5")
    assert "gdpo divides the divergence" in told(*weights, "--config.combine", "gdpo")
    assert "no_such" in told(*weights, "--objectives", "score", "harm_avoidance", "no_such")
    assert "unknown objective 'brief'" in told("--weights", "brief=1")
    assert "card" in told(*weights, "--initial", tmp_path)
    assert not (tmp_path / "out").exists()
