"""Every example runs, and says what it should."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import ForkServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def output(forks: ForkServer) -> Callable[..., str]:
    """Runs an example, and returns what it printed."""

    def call(name: str, folder: Path | None = None) -> str:
        ended = forks.run(EXAMPLES / name, cwd=folder)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return call


def test_all_examples_are_tested():
    tested = re.findall(r'output\("(\w+\.py)"', Path(__file__).read_text())
    assert sorted(tested) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_the_environment_gives_a_reward_for_each_objective(output):
    score, harm = map(float, re.findall(r"-?\d+\.?", output("01_gymnasium_env.py").split("[")[1]))
    assert score > 0 > harm


def test_a_story_of_ones_own_is_solved(output):
    told = output("02_your_own_story.py")
    assert "problems: []" in told
    assert "[[50.0, -2.0], [30.0, 0.0]]" in told


def test_steering_moves_both_returns(output):
    rows = re.findall(
        r"'score': (-?[\d.]+), 'harm_avoidance': (-?[\d.]+)", output("03_steer_two_objectives.py")
    )
    scores, harms = zip(*[tuple(map(float, row)) for row in rows], strict=True)
    # From all the weight on harm avoidance to all of it on the score.
    assert scores[0] < scores[1] < scores[2]
    assert harms[0] > harms[1] > harms[2]
    assert scores[2] > 400
    assert harms[0] > -5


def test_two_reward_models_train_a_policy_by_grpo(output):
    told = output("04_reward_to_policy.py")
    brief, lively = (
        [float(x) for x in re.search(rf"{name} \[(.*?)\]", told).group(1).split(",")]
        for name in ("brief", "lively")
    )
    assert brief[0] > brief[1]
    assert lively[0] > lively[1]
    assert "steps 2 rewards ['rewards/brief/mean', 'rewards/lively/mean']" in told


def test_demonstrations_alone_give_a_reward(output):
    told = output("05_demonstrations_only.py")
    assert "an answer as demonstrated is worth more: True" in told
    assert re.search(r"closed form: best of \d+: ' \w\w!'", told)
    assert re.search(r"ensemble: best of \d+: ' \w\w!'", told)


def test_a_policy_comes_closer_to_what_was_shown(output):
    told = output("06_adversarial_imitation.py")
    accuracies = [float(value) for value in re.findall(r"'accuracy': ([\d.]+)", told)]
    assert len(accuracies) == 5
    assert accuracies[0] > max(accuracies[-2:])
    before, after = map(float, re.search(r"before ([\d.]+) after ([\d.]+)", told).groups())
    assert abs(after - 0.8) < 0.5 * abs(before - 0.8)


def test_five_tasks_of_a_notebook_with_pluralign_alone(output, tmp_path):
    source = (EXAMPLES / "notebook.py").read_text()
    imported = re.findall(r"^(?:import|from) (\S+)", source, re.MULTILINE)
    assert sorted(imported) == ["functools", "pluralign"]
    tasks = re.split(r"^# \(\w\) ", source, flags=re.MULTILINE)[1:]
    assert len(tasks) == 5
    for task in tasks:
        assert len([line for line in task.splitlines()[1:] if line.strip()]) <= 8, task
    told = output("notebook.py", tmp_path)
    better, worse = map(float, re.findall(r"scores \[ ?(-?[\d.]+) +(-?[\d.]+)\]", told)[0])
    assert better > worse
    assert "front [{" in told
    assert "own loss: lively" in told
    assert (tmp_path / "runs/notebook/sweep/report.html").exists()


def test_the_tutorial_runs(forks, tmp_path):
    page = EXAMPLES.parent / "docs/tutorial.md"
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))
    # A sixth of the steps: the front's share is the same.
    short = code.replace("objective=goal.name)", "objective=goal.name, config=pl.learn.QConfig(steps=500))")
    assert short != code
    (tmp_path / "tutorial.py").write_text(short, encoding="utf-8")
    ended = forks.run(tmp_path / "tutorial.py", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    good, bad = map(float, re.findall(r"-?\d+\.\d+", ended.stdout.splitlines()[0]))
    assert good > bad
    ratio = float(ended.stdout.split()[-1])
    assert 0.6 < ratio < 1
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"lively", "q-score", "ranked", "sweep"}


@pytest.mark.slow
def test_the_readme_s_example_prints_what_it_says(forks, tmp_path):
    page = (EXAMPLES.parent / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (code,) = [block for block in blocks if "def loss(" in block]
    (said,) = re.findall(r"^# (.*?)  +\(a minute", code, re.M)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    ended = forks.run(tmp_path / "example.py", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == said.split()
