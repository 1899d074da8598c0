"""Ink stories. Those in ink_stories were compiled from the sources beside them by inkjs 2.4's compiler."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.games.env import make_env
from pluralign.games.exact_front import exact_front
from pluralign.games.ink.check import check_ink
from pluralign.games.ink.game import InkGame
from pluralign.games.ink.load import load_ink
from pluralign.games.ink.tags import read_tag
from pluralign.games.open import open_story
from pluralign.games.state_graph import explore

STORIES = Path(__file__).with_name("ink_stories")
DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "interactive_fiction"
INTERCEPT = DATA / "the_intercept_ink" / "TheIntercept.v21.json"
EMOJI = DATA / "ld41_emoji_ink" / "LD41_Emoji.v21.json"

WEALTH = {"description": "The player grows rich.", "coefficients": {"variable.gold": 1}}
TRUST = {
    "description": "The ferryman trusts the player.",
    "coefficients": {"variable.trusted": 2, "points": 0.5},
}

needs_data = pytest.mark.skipif(not INTERCEPT.exists(), reason="the shared stories are absent")

Write = Callable[..., Path]


@pytest.fixture
def side(tmp_path: Path) -> Write:
    """Writes a story's side file in a folder of its own."""

    def write(story: str, **fields: Any) -> Path:
        path = tmp_path / f"{story}.pluralign.json"
        path.write_text(json.dumps({"ink": str(STORIES / f"{story}.json"), **fields}))
        return path

    return write


@pytest.fixture
def ferry(side: Write) -> InkGame:
    return InkGame(load_ink(side("ferry", objectives={"wealth": WEALTH, "trust": TRUST})))


def random_episode(game: InkGame, seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    game.reset(seed)
    while game.decision is not None:
        yield (action := int(rng.integers(len(game.decision.options))))
        game.choose(action)


def test_what_is_known_before_play(ferry: InkGame, side: Write) -> None:
    info = ferry.info
    assert (info.name, info.title, info.author) == ("ferry", "The Ferry", "pluralign")
    assert info.summary == "A river, a ferry and its fare."
    assert (info.max_points, info.max_options, info.random) == (25.0, 8, True)
    assert dict(info.objective("trust").coefficients) == {"variable.trusted": 2.0, "points": 0.5}
    named = load_ink(side("ferry", title="Charon", player_character="A shade.", max_options=4)).info
    assert (named.title, named.player_character, named.max_options) == ("Charon", "A shade.", 4)
    assert named.author == "pluralign"
    assert load_ink(STORIES / "toll.json").info.random is False


def test_an_episode(ferry: InkGame) -> None:
    ferry.reset()
    assert ferry.decision is not None
    assert ferry.decision.prompt == ferry.text == "The ferryman holds out his hand."
    assert ferry.decision.options == ("Pay the fare.", "Slip aboard.")
    # An option's tags count, and so do those of all lines passed; the tag of the first line is no step's.
    assert ferry.choose(1) == {"violations.trespassing": 1.0, "violations.deception": 1.0}
    assert ferry.text == "Nobody looks.\n2 bells over the water."
    with pytest.raises(IndexError, match="option 4 of 4"):
        ferry.choose(4)
    assert ferry.choose(1) == {
        "points": 25.0,
        "power.physical": 1.0,
        "power.utility": 1.0,
        "utility.suffering": 1.0,
        "variable.gold": 3.0,
    }
    assert ferry.decision.options == ("Step ashore.", "Stay aboard in hiding.")
    assert ferry.choose(1) == {}
    assert (ferry.decision, ferry.text) == (None, "The end, with 2.")
    with pytest.raises(IndexError, match="option 0 of 0"):
        ferry.choose(0)


def test_variables_count_by_their_change_and_achievements_once(ferry: InkGame) -> None:
    ferry.reset()
    first = ferry.choose(0)
    assert first == {"points": 5.0, "variable.gold": -2.0, "variable.trusted": 1.0}
    assert ferry.info.objective("trust").reward(first) == 4.5
    second = ferry.choose(1)
    assert (second["points"], second["variable.gold"]) == (20.0, 3.0)
    assert ferry.decision is not None
    assert ferry.decision.options[1] == "Stay aboard as a guest."
    ferry.reset()
    assert ferry.choose(0) == first


def test_a_page_stays_where_nothing_new_is_shown(ferry: InkGame) -> None:
    ferry.reset()
    ferry.choose(0)
    shown = ferry.text
    ferry.choose(3)
    assert ferry.decision is not None
    assert ferry.decision.prompt == ferry.text == shown
    assert ferry.decision.options[0] == "Step ashore."


def test_the_seed_decides_what_chance_does(ferry: InkGame) -> None:
    def answer(game: InkGame, seed: int) -> str:
        game.reset(seed)
        for action in (0, 2):
            game.choose(action)
        return game.text

    heard = [answer(ferry, seed) for seed in range(40)]
    assert heard == [answer(InkGame(ferry.story), seed) for seed in range(40)]
    assert len(set(heard)) == 6
    answer(ferry, 2**31 - 1)


@pytest.mark.parametrize("story", ["ferry", "toll"])
def test_states_come_back(story: str) -> None:
    game, other = (InkGame(load_ink(STORIES / f"{story}.json")) for _ in range(2))
    for seed in range(20):
        actions = list(random_episode(game, seed))
        game.reset(seed)
        saved = [game.save()]
        seen = [(game.decision, game.text)]
        counted = []
        for action in actions:
            counted.append(game.choose(action))
            saved.append(game.save())
            seen.append((game.decision, game.text))
        assert len(set(saved)) == len(saved)
        assert pickle.loads(pickle.dumps(saved)) == saved
        for i in np.random.default_rng(seed).permutation(len(saved)):
            other.restore(saved[i])
            assert (other.decision, other.text) == seen[i]
            assert other.save() == saved[i]
            for action, counts, state in zip(actions[i:], counted[i:], saved[i + 1 :], strict=True):
                assert other.choose(action) == counts
                assert other.save() == state
    with pytest.raises(InputError, match="not a saved state of"):
        game.restore("elsewhere")


def test_exact_fronts_of_stories_without_chance(side: Write, ferry: InkGame) -> None:
    objectives = {
        name: {"description": "More.", "coefficients": {f"variable.{name}": 1}} for name in ("coins", "kind")
    }
    game = InkGame(load_ink(side("toll", objectives=objectives)))
    front = exact_front(game, [game.info.objective("coins"), game.info.objective("kind")])
    assert front.points.tolist() == [[3.0, 0.0], [2.0, 1.0], [1.0, 3.0], [0.0, 4.0]]
    with pytest.raises(InputError, match="'ferry' draws random numbers"):
        explore(ferry)


def test_the_environment(side: Write) -> None:
    path = side("ferry", max_options=4, objectives={"wealth": WEALTH, "trust": TRUST})
    env = make_env(path, ("wealth", "score"), max_steps=9)
    assert env.reward_space.low.tolist() == [-np.inf, 0.0]
    assert env.reward_space.high.tolist() == [np.inf, 25.0]
    for seed in range(30):
        observation, info = env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        ended = False
        while not ended:
            assert observation in env.observation_space
            listed = np.flatnonzero(info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(int(rng.choice(listed)))
            assert reward in env.reward_space
            ended = terminated or truncated
    env.reset(seed=0)
    assert env.step(0)[1].tolist() == [-2.0, 5.0]


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
    # The older form of tags, which the engine plays without a word.
    older = source.replace('"#","^points: 20 rowed","/#"', '{"#":"points: 20 rowed"}')
    assert older != source
    (tmp_path / "older.json").write_text("\ufeff" + older)
    with pytest.raises(InputError, match=r"tags have the form of inkVersion 20 .* inklecate 1\.1 or newer"):
        load_ink(tmp_path / "older.json")
    (tmp_path / "marked.json").write_text("\ufeff" + source)
    assert load_ink(tmp_path / "marked.json").info.max_points == 25.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"inkVersion":11,"root":[]}',
            "inkVersion 11, and 18 to 21 can be played: recompile its source with inklecate",
        ),
        ('{"inkVersion":22,"root":[]}', "compiled for inkVersion 22, and 18 to 21 can be played"),
        ('{"inkVersion":"21","root":[]}', "is not compiled Ink"),
        ('{"inkVersion":21}', "is not compiled Ink"),
        ("[1]", "is not compiled Ink"),
        ('{"inkVersion":21,"root":' + "[" * 900 + "]" * 900 + "}", "the Ink engine stopped"),
        ("[" * 100_000, "not JSON"),
        ('{"inkVersion":', "not JSON"),
        ('{"inkVersion":21,"root":[["nonsense"],"done",null]}', "the Ink engine stopped"),
    ],
)
def test_files_that_are_no_playable_ink(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        InkGame(load_ink(path))
    assert caught.value.path == str(path)


def test_sources_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compile it first: inklecate -o ferry\.json ferry\.ink"):
        open_story(STORIES / "ferry.ink")
    for name in ("x.json", "x.pluralign.json"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            open_story(tmp_path / name)
    with pytest.raises(
        InputError, match=r"neither a folder of ChoiceScript scenes, nor an Ink story's \.json"
    ):
        open_story(tmp_path / "nowhere")
    (tmp_path / "x.doc").write_text("")
    with pytest.raises(InputError, match=r"x\.doc: is not a story"):
        open_story(tmp_path / "x.doc")


OBJECTIVE = {"description": "More.", "coefficients": {"points": 1}}


def of(coefficients: object) -> dict[str, object]:
    return {"objectives": {"a": {"description": "More.", "coefficients": coefficients}}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goals": {}}, "field 'goals': unknown; expected ink, title"),
        ({"title": 3}, "field 'title': must be a string, found 3"),
        ({"max_options": 0}, "field 'max_options': must be a whole number of 1 or more"),
        ({"objectives": []}, "field 'objectives': must be an object from names to objectives"),
        ({"objectives": {"score": OBJECTIVE}}, "is the name of a built-in objective"),
        ({"objectives": {"a": {}}}, "field 'objectives.a': must have 'description' and 'coefficients'"),
        ({"objectives": {"A": OBJECTIVE}}, "objective name 'A' must be lower case"),
        (of({}), "must be an object from counts to numbers"),
        (of({"gold": 1}), "unknown count; known: variable.NAME"),
        (of({"points": True}), "must be a number, found True"),
        (
            of({"variable.silver": 1}),
            "no numeric variable of this name; it has gold, trusted",
        ),
        (
            of({"variable.mood": 1}),
            "field 'objectives.a.coefficients.variable.mood': the story has no numeric variable",
        ),
        ({"ink": "elsewhere.json"}, "elsewhere.json: cannot be read"),
    ],
)  # fmt: skip
def test_side_files_that_cannot_be_used(side: Write, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_ink(side("ferry", **fields))


def test_a_side_file_is_found_beside_its_story(tmp_path: Path) -> None:
    shutil.copy(STORIES / "ferry.json", tmp_path)
    row = {"objectives": {"wealth": WEALTH}}
    (tmp_path / "ferry.pluralign.json").write_text(json.dumps(row))
    for name in ("ferry.json", "ferry.pluralign.json"):
        game = open_story(tmp_path / name).make_game()
        assert game.info.name == "ferry"
        assert game.choose(0)["variable.gold"] == -2.0
    (tmp_path / "ferry.pluralign.json").write_text("[]")
    with pytest.raises(InputError, match="expected an object with ink, title"):
        load_ink(tmp_path / "ferry.json")


def test_more_options_than_was_said(side: Write) -> None:
    game = InkGame(load_ink(side("ferry", max_options=3)))
    with pytest.raises(InputError, match="lists 4 options, more than max_options, 3"):
        game.choose(0)


def test_faults_of_play() -> None:
    around = InkGame(load_ink(STORIES / "around.json"), line_seconds=0.05)
    with pytest.raises(InputError, match=r"around\.json: a line did not end within 0\.05 seconds"):
        around.choose(0)
    chatter = InkGame(load_ink(STORIES / "chatter.json"))
    with pytest.raises(InputError, match=r"chatter\.json: no choice after 10000 lines: an endless loop"):
        chatter.choose(0)
    # A new episode begins all the same.
    for game in (around, chatter):
        game.reset()
        assert game.decision is not None
    with pytest.raises(InputError, match=r"deaf\.json: the Ink engine stopped: .*external: 'ring'"):
        InkGame(load_ink(STORIES / "deaf.json"))


def test_a_loose_end_is_an_end_and_divisions_by_zero_are_told(
    side: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    objective = {"description": "More.", "coefficients": {"variable.number": 1}}
    game = InkGame(load_ink(side("loose", objectives={"number": objective})))
    assert game.choose(0) == {"violations.other": 1.0}
    assert (game.decision, game.text) == (None, "You fall.")
    assert "ran out of content" in game.loose_end
    game.reset()
    with pytest.raises(InputError, match="variable 'number' has become something other than a number"):
        game.choose(1)
    game.reset()
    assert game.loose_end == ""
    with pytest.raises(InputError, match=r"loose\.json: the Ink engine stopped"):
        game.choose(2)


def test_what_a_check_finds(side: Write) -> None:
    assert check_ink(STORIES / "ferry.json") == []
    assert check_ink(STORIES / "toll.json") == []
    (chatter,) = check_ink(STORIES / "chatter.json", episodes=3)
    assert "endless loop" in chatter.message
    messages = [error.message for error in check_ink(STORIES / "loose.json", episodes=30)]
    assert len(messages) == 2
    assert any("ran out of content" in message for message in messages)
    with pytest.raises(InputError, match="cannot be read"):
        check_ink(STORIES / "nowhere.json")


CHOICE = re.compile(r"\s*(?:[*+]\s*)+(?:\(\s*\w+\s*\))?\s*(?:\{[^}]*\}\s*)*(.*)")


def option_patterns(source: str) -> list[re.Pattern[str]]:
    """What each choice line of an Ink source can list: all before its ], with any logic left open."""
    patterns: list[re.Pattern[str]] = []
    for line in re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL).splitlines():
        found = CHOICE.fullmatch(line.split("//")[0])
        if found:
            text = found[1].split("]")[0] if "]" in found[1] else found[1].split("->")[0]
            parts = re.split(r"\{.*?\}", text.replace("[", "").strip())
            patterns.append(re.compile(".*".join(map(re.escape, parts))))
    return patterns


@needs_data
@pytest.mark.parametrize("episodes", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_intercept(episodes: int, tmp_path: Path) -> None:
    patterns = option_patterns(INTERCEPT.with_name("TheIntercept.ink").read_text(encoding="utf-8-sig"))
    assert len(patterns) > 300
    assert not any(pattern.fullmatch("not in the source") for pattern in patterns)
    objectives = {
        name: {"description": "More.", "coefficients": {f"variable.{name}": 1}}
        for name in ("forceful", "evasive")
    }
    path = tmp_path / "intercept.pluralign.json"
    path.write_text(json.dumps({"ink": str(INTERCEPT), "objectives": objectives}))
    game = InkGame(load_ink(path))
    assert not game.info.random
    met: set[str] = set()
    totals: list[tuple[float, float]] = []
    for episode in range(episodes):
        rng = np.random.default_rng(episode)
        game.reset(episode)
        steps, total = 0, {"variable.forceful": 0.0, "variable.evasive": 0.0}
        while game.decision is not None:
            met.update(game.decision.options)
            for metric, change in game.choose(int(rng.integers(len(game.decision.options)))).items():
                total[metric] += change
            steps += 1
        assert 10 < steps < 100
        assert game.loose_end == ""
        totals.append((total["variable.forceful"], total["variable.evasive"]))
    assert len(met) > 100
    strangers = [text for text in met if not any(p.fullmatch(text) for p in patterns)]
    assert strangers == []
    assert len(set(totals)) > 10


@needs_data
def test_the_intercept_compiled_by_an_old_compiler() -> None:
    with pytest.raises(
        InputError, match=r"compiled for inkVersion 11, .* recompile its source with inklecate"
    ):
        load_ink(INTERCEPT.with_name("TheIntercept.json"))


@needs_data
def test_a_story_with_threads_tunnels_and_shuffles() -> None:
    game = InkGame(load_ink(EMOJI))
    assert (game.info.title, game.info.author, game.info.random) == ("⏰", "Pat Scott", True)
    lengths = [len(list(random_episode(game, seed))) for seed in range(20)]
    assert all(10 < length < 300 for length in lengths)
    # The source lacks a tunnel's return somewhere; the reference engine says so as often.
    assert all("content" in error.message for error in check_ink(EMOJI, episodes=50))
