"""A small story, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from answer_files import DRAWS, Scorer, answers
from small_story import write_story

from pluralign.cli import main
from pluralign.core import InputError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a story of three choices."""
    return str(write_story(tmp_path_factory.mktemp("stories") / "toll"))


Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    """Runs the command line in this process and returns its exit code."""

    def call(*arguments: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        return int(ended.value.code or 0)

    return call


@pytest.fixture
def refuses(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command line on bad input; checks exit code 2 and one line of complaint, and returns it."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        assert run(*arguments) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        # A progress bar may stand before it.
        assert [line.startswith("pluralign: ") for line in lines[-2:]] in ([True], [False, True]), lines
        assert not any("Traceback" in line for line in lines)
        return lines[-1]

    return call


@pytest.fixture
def scorers(monkeypatch):
    """Those that are opened, and how many calls the next ones answer."""
    opened = []
    limit = {}

    def load_reward(spec, *, dtype=None):
        if spec == "absent":
            raise InputError("no such folder", path=spec)
        opened.append(Scorer(spec, limit.get(spec)))
        return opened[-1]

    def load_rewards(given, *, dtype=None):
        return {name: load_reward(spec, dtype=dtype) for name, spec in given.items()}

    # In this order: the first module, if it is imported here, takes its function from the second.
    monkeypatch.setattr("pluralign.evaluate.rewards.scored.load_rewards", load_rewards)
    monkeypatch.setattr("pluralign.rewards.open.load_reward", load_reward)
    return opened, limit


@pytest.fixture
def answer_files(tmp_path):
    """Files of draws, of a base model, of demonstrations and of deterministic answers."""
    return {
        "draws": answers(tmp_path / "draws.jsonl", DRAWS),
        "base": answers(tmp_path / "base.jsonl", [["", "y"], ["y", "y"], ["", ""]]),
        "demo": answers(tmp_path / "demo.jsonl", [["xyyy"], ["yyyy"], ["yyyxx"]]),
        "greedy": answers(tmp_path / "greedy.jsonl", [["yx"], ["x"], ["yy"]]),
    }
