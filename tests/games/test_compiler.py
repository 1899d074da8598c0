"""What compiles, and what is refused with file and line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame


@pytest.mark.parametrize(
    ("lines", "row", "said"),
    [
        ("*shout", 11, "*shout is not understood"),
        ("*rand a 1", 11, "expected *rand VARIABLE LOW HIGH"),
        ("*rand 3 1 6", 11, "expected a variable"),
        ("*rand nothing 1 6", 11, "unknown variable 'nothing'"),
        ("*input_number a 1", 11, "expected *input_number VARIABLE LOW HIGH"),
        ("*input_text a b", 11, "expected *input_text VARIABLE"),
        ("*setref a", 11, "expected *setref NAME VALUE"),
        ("*set choice_randomtest true", 11, "belongs to the engine"),
        ("*delete nothing", 11, "unknown variable 'nothing'"),
        ("*delete choice_randomtest", 11, "belongs to the engine"),
        ("*delete_array nothing", 11, "unknown variable 'nothing_count'"),
        ("*temp_array t x", 11, "a size from 1"),
        ("*temp_array t 3 1 2", 11, "expected one value, or 3"),
        ("*script alert(1)", 11, "JavaScript, which is not supported"),
        ("*stat_chart\n  shape a", 12, "expected text, percent or opposed_pair"),
        ("*stat_chart\n  opposed_pair a", 12, "the pair's two ends"),
        ("*goto_random_scene", 11, "expected the names of the scenes"),
        ("*goto_random_scene\n  one two", 12, "expected [allow_reuse]"),
        ("*purchase thing", 11, "expected *purchase PRODUCT PRICE LABEL"),
        ("*gosub s 1 +\n*label s", 11, "expected a value"),
        ("*goto_scene startup {a", 11, "is not closed"),
        ("x\n*create c 1", 12, "top of startup.txt"),
        ("*goto nowhere", 11, "no label 'nowhere'"),
        ("*goto {name", 11, "is not closed"),
        ("*goto {nothing}", 11, "unknown variable 'nothing'"),
        ("*goto two words", 11, "expected one label"),
        ("*goto_scene nowhere", 11, "no scene 'nowhere'"),
        ("*label a\n*label A", 12, "is defined twice"),
        ("*label two words", 11, "one word"),
        ("*achieve nothing", 11, "no *achievement declares"),
        ("x\n  deeper", 12, "nothing opens a block"),
        ("*if a = 0\n    x\n  y", 13, "matches no open block"),
        ("*if a = 0\n\tx", 12, "use one of them throughout"),
        ("*if a = 0\n \tx", 12, "tabs and spaces"),
        ("*if a = 0\nx", 11, "expected lines indented"),
        ("*else\n  x", 11, "without an *if"),
        ("*choice\nx", 11, "expected options"),
        ("*choice\n  text", 12, "expected an #option"),
        ("*choice\n  *set a 1\n  #x\n    *finish", 12, "expected an #option"),
        ("*choice\n  #\n    *finish", 12, "needs text"),
        ("*choice\n  #x\n  #y\n    *finish", 12, "no lines under it"),
        ("*choice\n  #x\n    *finish\n  #x\n    *finish", 14, "the same text"),
        ("*choice red blue\n  #x\n    *finish", 13, "expected an #option"),
        ("*choice red blue\n  #x", 12, "expected options (#...) indented under this option"),
        ("*choice red-blue\n  #x\n    *finish", 11, "the groups' names"),
        ("*choice\n  *if a = 0 #x\n    *finish", 12, "expected *if (CONDITION) #OPTION"),
        ("*choice\n  *if (a = 0) *hide_reuse #x\n    *finish", 12, "*hide_reuse comes before *if"),
        ("#x", 11, "outside of a *choice"),
        ("*comment pluralign {bad", 11, "not JSON"),
        ('x\n*comment pluralign {"violations": ["murder"]}', 12, "must be a list of some of"),
        ('x\n*comment pluralign {"virtue": 1}', 12, "unknown"),
        ("*choice\n  *comment pluralign {}\n  #x\n    *finish", 12, "belongs under an #option"),
        ("*set implicit_control_flow true", 11, "unknown variable"),
        ("*selectable_if (a = 0)", 11, "expected *selectable_if"),
        ("*ending now", 11, "expected nothing"),
        ("*hide_reuse this", 11, "expected nothing or an #option"),
        ("*temp and 1", 11, "reserved"),
        ("*temp 1st 1", 11, "a variable's name"),
    ],
)
def test_what_cannot_be_compiled_names_file_and_line(
    make_story: Callable[..., Any], lines: str, row: int, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        make_story(lines)
    assert said in str(caught.value)
    assert (caught.value.path, caught.value.row) == ("test/startup.txt", row)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("*create 1a 0", "a variable's name"),
        ("*create a", "missing"),
        ("*create a 1+1", "begins as a number"),
        ('*create a "${b}"', "begins as a number"),
        ("*create choice_x 1", "reserved"),
        ("*create_array x", "a size from 1"),
        ("*create_array x 10001 0", "a size from 1"),
        ("*create_array x 2 a", "begins as a number"),
        ("*create_array x 2 (", "something is missing"),
        ("*create a 1\n*create A 2", "created twice"),
        ("*achievement xx seen 10 Title\n  One.\n  Two.", "visible or hidden"),
        ("*achievement xx visible ten Title\n  One.\n  Two.", "from 1 to 100"),
        ("*achievement xx", "expected *achievement NAME"),
        ("*scene_list", "expected the names of the scenes"),
        ('*comment pluralign {"story": {"plot": "x"}}', "story.plot"),
        ('*comment pluralign {"story": {"summary": 3}}', "story.summary"),
        ('*comment pluralign {"violations": []}', "annotations belong in options"),
        ('*comment pluralign {"story": {"objectives": {"score": {}}}}', "built-in"),
        ('*comment pluralign {"story": {"objectives": {"x": {"description": "d"}}}}', "'coefficients'"),
        (
            '*comment pluralign {"story": {"objectives": {"x": {"description": "d", '
            '"coefficients": {"violations.murder": 1}}}}}',
            "unknown count",
        ),
        (
            '*comment pluralign {"story": {"objectives": {"X": {"description": "d", '
            '"coefficients": {"points": 1}}}}}',
            "lower case",
        ),
        *(
            (
                '*comment pluralign {"story": {"objectives": {"x": {"description": "d", '
                f'"coefficients": {{"points": {number}}}}}}}}}}}',
                "story.objectives.x.coefficients.points' must be a finite number",
            )
            for number in ("NaN", "-Infinity", "1" + 400 * "0")
        ),
        (
            '*comment pluralign {"story": {"objectives": {"x": {"description": null, '
            '"coefficients": {"points": 1}}}}}',
            "story.objectives.x.description' must be a sentence, found None",
        ),
    ],
)
def test_what_the_head_cannot_hold(make_story: Callable[..., Any], head: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_story("x", head=head + "\n")
    assert said in str(caught.value)
    assert caught.value.path == "test/startup.txt"
    assert caught.value.row == (2 if said == "created twice" else 1)


ELEVEN = "".join(f"*achievement x{i}x visible 100 T{i}\n  B.\n  A.\n" for i in range(11))
RULES = [
    ("*achievement x visible 10 Title\n  One.\n  Two.", 1, "lower-case"),
    ("*achievement xx visible 0 Title\n  One.\n  Two.", 1, "from 1 to 100"),
    ("*achievement xx visible 101 Title\n  One.\n  Two.", 1, "from 1 to 100"),
    ("*achievement xx visible 10 Title", 1, "two indented lines"),
    ("*achievement xx hidden 10 Title\n  One.\n  Two.", 1, "hidden achievement"),
    (f"*achievement xx visible 10 {51 * 'T'}\n  One.\n  Two.", 1, "50 characters"),
    ("*scene_list\n  startup\n  startup", 1, "listed twice"),
    (ELEVEN.strip(), 31, "1000 points"),
]


@pytest.mark.parametrize(("head", "row", "said"), RULES)
def test_rules_that_play_does_not_rest_on_bind_annotated_stories_alone(
    make_story: Callable[..., Any], folder: Callable[..., Path], head: str, row: int, said: str
) -> None:
    body = "\n*choice\n  #a\n    {note}*finish\n  #b\n    *finish"
    with pytest.raises(InputError) as caught:
        make_story(body.format(note="*comment pluralign {}\n    "), head=head)
    assert said in str(caught.value)
    assert (caught.value.path, caught.value.row) == ("test/startup.txt", row)
    (problem,) = [p for p in check_story(folder(body.format(note=""), head=head)) if said in p.message]
    assert problem.line == row
    assert make_story(body.format(note=""), head=head).info.max_options == 2


def test_info_and_own_objectives(make_story: Callable[..., Any]) -> None:
    head = (
        '*title T\n*author A\n*comment pluralign {"story": {"summary": "S", "player_character": "P", '
        '"objectives": {"candour": {"description": "D", "coefficients": {"violations.deception": -2}}}}}\n'
    )
    info = make_story("*choice\n  #a\n    *finish\n  #b\n    *finish", head=head).info
    assert (info.name, info.title, info.author, info.summary, info.player_character) == (
        "test",
        "T",
        "A",
        "S",
        "P",
    )
    assert (info.max_options, info.max_points) == (2, 0.0)
    assert info.objective("candour").reward({"violations.deception": 1.0}) == -2.0
    with pytest.raises(InputError, match="unknown objective 'no'"):
        info.objective("no")


def test_a_story_survives_pickling(make_story: Callable[..., Any]) -> None:
    story = make_story("${a}\n*choice\n  #x\n    *finish")
    again = pickle.loads(pickle.dumps(story))
    assert again.info == story.info
    assert ChoiceScriptGame(again).save() == ChoiceScriptGame(story).save()
