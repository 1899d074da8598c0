"""Tags of Ink stories: annotations and points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.games.ink.load import load_ink
from pluralign.games.ink.tags import read_tag

STORIES = Path(__file__).with_name("ink_stories")


@pytest.mark.parametrize(
    ("tag", "annotation", "points"),
    [
        ("violation: deception", {"violations": ["deception"]}, {}),
        ("violations:stealing , spying", {"violations": ["stealing", "spying"]}, {}),
        ("power: social, money", {"power": ["social", "money"]}, {}),
        ("utility: others -3, self 1", {"utility": {"others": -3, "self": 1}}, {}),
        ("points: 2.5 first light", {}, {"first light": 2.5}),
    ],
)
def test_tags_that_say_something(tag: str, annotation: object, points: object) -> None:
    note = read_tag(tag)
    assert note is not None
    assert (note.annotation, note.points) == (annotation, points)


@pytest.mark.parametrize("tag", ["title: X", "violations", "", "clear", "mood: violation: deception"])
def test_other_tags_are_left_alone(tag: str) -> None:
    assert read_tag(tag) is None


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("violation: rudeness", "must be a list of some of killing"),
        ("violations:", "must be a list of some of killing"),
        ("power: utility", "must be a list of some of money, physical, social"),
        ("utility: others", "expected 'self' or 'others' and a whole level, found 'others'"),
        ("utility: others -4", "whole levels from -3 to 3"),
        ("utility: them 1", "must give 'self' and 'others'"),
        ("points: 5", "expected a positive number of points and the achievement's name"),
        ("points: -5 x", "expected a positive number"),
        ("points: nan x", "expected a positive number"),
    ],
)
def test_tags_that_cannot_be_read(tag: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_tag(tag)
    assert caught.value.field == f"# {tag}"


def test_tags_are_read_before_play(tmp_path: Path) -> None:
    source = (STORIES / "ferry.json").read_text()
    (tmp_path / "bad.json").write_text(source.replace("^points: 20 rowed", "^points: many rowed"))
    with pytest.raises(InputError, match=r"bad\.json, field '# points: many rowed': expected a positive"):
        load_ink(tmp_path / "bad.json")
    (tmp_path / "twice.json").write_text(source.replace("^points: 20 rowed", "^points: 20 paid"))
    with pytest.raises(InputError, match="'paid' is worth 5 points elsewhere"):
        load_ink(tmp_path / "twice.json")
    # The older form of tags, which the runtime plays without a word.
    older = source.replace('"#","^points: 20 rowed","/#"', '{"#":"points: 20 rowed"}')
    assert older != source
    (tmp_path / "older.json").write_text("\ufeff" + older)
    with pytest.raises(InputError, match=r"tags have the form of inkVersion 20 .* inklecate 1\.1 or newer"):
        load_ink(tmp_path / "older.json")
    (tmp_path / "marked.json").write_text("\ufeff" + source)
    assert load_ink(tmp_path / "marked.json").info.max_points == 25.0
