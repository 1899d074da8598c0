"""The checker finds each planted defect, at its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.check.statistics import story_statistics
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.load import load_story

Write = Callable[..., Path]

SOUND = """\
Start.
*choice
  #One.
    *comment pluralign {}
    *achieve first
    *goto end
  #Two.
    *comment pluralign {}
    *goto end
*label end
End.
"""


def test_a_sound_story_has_no_problems(folder: Write) -> None:
    assert check_story(folder(SOUND)) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "kind", "said"),
    [
        ("*label end", "*label fin", 16, "label", "no label 'end'"),
        ("*goto end\n  #Two", "*goto_scene no\n  #Two", 16, "scene", "no scene 'no'"),
        ("Start.", "${nobody}", 11, "variable", "unknown variable 'nobody'"),
        ("Start.", "*shout", 11, "syntax", "*shout is not understood"),
        ("End.", "End.\n*finish\nNever.", 23, "unreachable", "cannot reach"),
        ("    *goto end\n*label end", "    text\n*label end", 17, "fall", "falls out of this option"),
        ("End.", "*if a = 0\n  x\n*else\n  y", 23, "fall", "falls into *else"),
        ("    *achieve first\n", "", 8, "achievement", "the achievement 'first' is never awarded"),
        ("*achieve first", "*achieve last", 15, "achievement", "no *achievement declares 'last'"),
        ("    *comment pluralign {}\n    *goto", "    *goto", 17, "annotation", "to line 20"),
        ("{}\n    *achieve", "{\n    *achieve", 14, "annotation", "not JSON"),
        ("{}\n    *achieve", '{"power": ["wit"]}\n    *achieve', 14, "annotation", "field 'power' must be"),
        ("Start.", "Start.\n*comment pluralign {}", 12, "annotation", "before the first choice"),
        ("Start.", "Start.\n*achieve first", 12, "achievement", "before the first choice"),
        ("End.", "*if a = 1\n  Never.", 22, "unreachable", "play never reaches this"),
        ("End.", "*label o\n*goto o", 22, "play", "endless loop"),
        (
            "Start.\n*choice",
            "*label top\nStart.\n*choice\n  #Round.\n    *comment pluralign {}\n    *goto top",
            13,
            "loop",
            "forever",
        ),
        (
            "*choice",
            "*choice\n  *if (a = 1) #Never.\n    *comment pluralign {}\n    *finish",
            14,
            "unreachable",
            "never reaches",
        ),
        (
            "*label end",
            "*label end\n*choice\n  *if (a = 1) #Never.\n    *comment pluralign {}\n    *finish",
            21,
            "play",
            "no option",
        ),
    ],
)
def test_planted_defects(folder: Write, old: str, new: str, line: int, kind: str, said: str) -> None:
    assert old in SOUND
    path = folder(SOUND.replace(old, new, 1))
    problems = check_story(path)
    found = [(problem.line, problem.kind) for problem in problems]
    assert (line, kind) in found
    problem = problems[found.index((line, kind))]
    assert said in problem.message
    assert str(problem) == f"{path}/startup.txt:{line}: {problem.message}"


def test_a_label_that_nothing_leads_to_is_no_problem(folder: Write) -> None:
    assert check_story(folder(SOUND.replace("Start.", "*label top\nStart."))) == []


def test_several_problems_are_found_at_once(folder: Write) -> None:
    lines = [p.line for p in check_story(folder("${x}\n*goto y\n*shout\n*set a 1 + 1 + 1"))]
    assert lines == [11, 12, 13, 14]


def test_every_scene_file_that_does_not_parse_is_named(folder: Write) -> None:
    problems = check_story(folder("x\n    y", other="x\n\n    y"))
    assert [(Path(p.file).name, p.line) for p in problems] == [("other.txt", 3), ("startup.txt", 12)]


def test_a_listed_scene_without_a_file(folder: Write) -> None:
    problems = check_story(folder(SOUND, head="*scene_list\n  startup\n  second\n"))
    assert any(p.kind == "scene" and "second.txt" in p.message for p in problems)


def test_annotations_are_followed_through_subroutines(folder: Write) -> None:
    annotated = SOUND.replace("    *comment pluralign {}\n    *goto", "    *gosub note\n    *goto")
    path = folder(annotated + "*finish\n*label note\n*comment pluralign {}\n*return\n")
    assert check_story(path) == []
    empty = folder(annotated + "*finish\n*label note\n*comment plain\n*return\n")
    assert [(p.line, p.kind) for p in check_story(empty)] == [(17, "annotation")]


def test_a_subroutine_returns_to_its_own_caller(folder: Write) -> None:
    lines = SOUND.replace(
        "    *comment pluralign {}\n    *achieve", "    *gosub note\n    *comment pluralign {}\n    *achieve"
    ).replace("{}\n    *goto end\n*label", "{}\n    *gosub note\n    *goto end\n*label")
    assert lines.count("*gosub note") == 2
    assert check_story(folder(lines + "*finish\n*label note\nNoted.\n*return\n")) == []


def test_a_circle_that_changes_something_is_none(folder: Write) -> None:
    lines = """\
        *label top
        ${a}
        *choice
          *if (a < 3) #Round.
            *comment pluralign {}
            *set a +1
            *achieve first
            *goto top
          #Out.
            *comment pluralign {}
            *finish
        """
    assert check_story(folder(lines)) == []


def test_a_story_with_too_many_states(folder: Write) -> None:
    path = folder(
        SOUND.replace("*goto end", "*set a +1\n    *goto top").replace("Start.", "*label top\n${a}")
    )
    assert any(
        p.kind == "size" and "more than 50 states" in p.message for p in check_story(path, max_states=50)
    )


def test_a_story_without_a_choice(folder: Write) -> None:
    problems = check_story(folder("Nothing.", head="*title x\n"))
    assert [p.kind for p in problems] == ["play"]


def test_what_is_no_story(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a folder nor built in"):
        check_story(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"needs a startup\.txt"):
        check_story(tmp_path)
    (tmp_path / "startup.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"startup\.txt: not UTF-8"):
        load_story(tmp_path)


def test_statistics(folder: Write) -> None:
    figures = story_statistics(folder(SOUND))
    assert (figures.choices, figures.states, figures.decisions) == (1, 1, 1)
    # Start. One. Two. End.
    assert figures.words == 4
    assert (figures.shortest, figures.longest, figures.mean_length, figures.mean_options) == (1, 1, 1.0, 2.0)


def test_all_words_of_an_option_count(folder: Write) -> None:
    options = "  #Take bus #5 home.\n    *finish\n  *hide_reuse *if (true) #Walk with dog #2.\n    *finish\n"
    path = folder(f"*choice\n{options}")
    assert story_statistics(path).words == 8
