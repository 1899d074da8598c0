"""A person plays a story that asks for what no option says."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

STARTUP = """\
*title The Ferry
*create name ""
*create coins 0
The ferryman looks up.
*input_text name
"${name}," he says.
*input_number coins 0 9
*choice
  #Pay ${coins} coins.
    *goto over
  #Swim.
    *goto over
*label over
He asks once more.
*input_text name
Goodbye, ${name}.
*finish
"""


@pytest.fixture
def ferry(tmp_path: Path) -> Path:
    """A story that asks three times."""
    (tmp_path / "startup.txt").write_text(STARTUP)
    return tmp_path


def test_a_person_answers_what_the_story_asks(
    run: Callable[..., int], ferry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\nRiver\nmany\n12\n2.5\n3\n1\nSea\n"))
    assert run("games", "play", ferry) == 0
    told = capsys.readouterr().out
    assert told.count("name: ") == 3
    assert told.count("coins, a whole number from 0 to 9: ") == 4
    assert "  1. Pay 3 coins." in told
    # What stood before a question is shown once.
    for line in ("The ferryman looks up.", '"River," he says.', "He asks once more.", "Goodbye, Sea."):
        assert told.count(line) == 1
    assert told.index("The ferryman looks up.") < told.index("name: ") < told.index('"River," he says.')


def test_a_policy_is_not_asked(
    run: Callable[..., int], ferry: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run("games", "play", ferry, "--policy", "random") == 0
    assert "Goodbye, Alex." in capsys.readouterr().out


def test_an_input_that_ends_is_refused(
    refuses: Callable[..., str], ferry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("River\n"))
    assert "the input ended before the story did" in refuses("games", "play", ferry)
