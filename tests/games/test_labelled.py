"""Stories with labels that a rater gave to their options."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Annotation, Comparison, Decision, InputError, Objective, Segment, Step
from pluralign.core.records import write_records
from pluralign.games.choicescript.load import list_stories
from pluralign.games.env import make_env
from pluralign.games.exact_front import exact_front
from pluralign.games.game import Game
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.labelled.file import LabelledFile, read_labelled_file, write_labelled_file
from pluralign.games.labelled.labels import read_labels
from pluralign.games.labelled.story import LabelledGame, LabelledStory
from pluralign.games.open import open_story
from pluralign.games.side_file import names_story
from pluralign.games.state_graph import explore

INK = Path(__file__).parent / "ink_stories"
RICH = Objective("score", "The player gets ahead.")


def option(decision: Decision, action: int) -> Segment:
    return Segment(f"option-{decision.key}", action, (Step(decision, action),))


def write_labels(path: Path, annotations: Sequence[Annotation], asked: Objective = RICH) -> Path:
    header = {"objective": {"name": asked.name, "description": asked.description}, "rater": "judge:j"}
    write_records(path, "annotations", annotations, header)
    return path


def duel(decision: Decision, first: int, second: int, preference: str, name: str = "score") -> Annotation:
    comparison = Comparison(option(decision, first), option(decision, second))
    return Annotation(comparison, name, "judge:j", preference)  # pyright: ignore[reportArgumentType]


Visit = tuple[Hashable, list[float]]
"""A state and what each option of its decision counts there."""


def visits(story: str, objective: Objective) -> dict[Decision, Visit]:
    """Every decision that play can reach, in one state that shows it."""
    game = open_story(story).make_game()
    graph = explore(game)
    found: dict[Decision, Visit] = {}
    for state, at in zip(graph.states[1:], graph.decision_of[1:], strict=True):
        decision = graph.decisions[at]
        if decision not in found:
            rewards: list[float] = []
            for action in range(len(decision.options)):
                game.restore(state)
                rewards.append(objective.reward(game.choose(action)))
            found[decision] = (state, rewards)
    return found


def compared(decision: Decision, rewards: Sequence[float], objective: Objective) -> Iterator[Annotation]:
    """Every pair of options, as the oracle compares them."""
    for a, b in combinations(range(len(rewards)), 2):
        gap = rewards[a] - rewards[b]
        told = "tie" if gap == 0 else ("first" if gap > 0 else "second")
        yield duel(decision, a, b, told, objective.name)


@pytest.fixture
def side_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a side file beside its labels."""

    def write(story: str, *labels: Path, **words: str) -> Path:
        path = tmp_path / "mine.pluralign.json"
        row = {"story": story, "labels": [label.name for label in labels], **words}
        path.write_text(json.dumps(row), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("story", list_stories())
@pytest.mark.parametrize("objective", [SCORE, HARM_AVOIDANCE], ids=lambda o: o.name)
def test_labels_by_the_oracle_order_options_as_the_storys_own_counts_do(
    story: str, objective: Objective, tmp_path: Path, side_file: Callable[..., Path]
) -> None:
    known = visits(story, objective)
    told = [a for decision, (_, rewards) in known.items() for a in compared(decision, rewards, objective)]
    labels = write_labels(tmp_path / "o.jsonl", told, objective)
    game = open_story(side_file(story, labels)).make_game()
    judged = game.info.objective(f"judged_{objective.name}")
    for decision, (state, rewards) in known.items():
        found: list[float] = []
        for action in range(len(decision.options)):
            game.restore(state)
            counts = game.choose(action)
            assert objective.reward(counts) == rewards[action]
            found.append(judged.reward(counts))
        assert all(-1 <= value <= 1 for value in found)
        for a, b in combinations(range(len(rewards)), 2):
            assert np.sign(rewards[a] - rewards[b]) == np.sign(found[a] - found[b])
    assert len(told) > 500


def test_shares_of_rivals_by_hand(tmp_path: Path) -> None:
    decision = Decision("Which?", ("a", "b", "c", "d"))
    duels = [(0, 1, "first"), (0, 2, "tie"), (1, 2, "second"), (1, 0, "first")]
    labels = read_labels(write_labels(tmp_path / "l.jsonl", [duel(decision, *d) for d in duels]))
    # a against b is told twice, once for each: half. a: 1/2 and 1/2, b: 1/2 and 0, c: 1/2 and 1; d: nothing.
    assert labels.values == {decision.key: {0: 0.0, 1: -0.5, 2: 0.5}}
    assert (labels.metric, labels.rater) == ("judged.score", "judge:j")
    assert labels.objective == Objective(
        "judged_score", f"As j sees it: {RICH.description}", {"judged.score": 1}
    )


@pytest.fixture
def toll(tmp_path: Path, side_file: Callable[..., Path]) -> Path:
    """An Ink story's labels: of its first decision's two options the second is better."""
    game = open_story(INK / "toll.json").make_game()
    assert game.decision is not None
    labels = write_labels(tmp_path / "score.jsonl", [duel(game.decision, 0, 1, "second")])
    return side_file(str(INK / "toll.json"), labels, title="The Toll, judged")


def test_a_labelled_game_is_the_game_around_it_and_its_labels(toll: Path) -> None:
    story = open_story(toll)
    game, plain = story.make_game(), open_story(INK / "toll.json").make_game()
    assert isinstance(story, LabelledStory)
    assert isinstance(game, LabelledGame)
    assert (game.info.name, game.info.title, game.info.author) == (
        "mine",
        "The Toll, judged",
        plain.info.author,
    )
    assert game.info.objectives[:-1] == plain.info.objectives
    assert game.info.objectives[-1].name == "judged_score"
    assert (game.info.max_states, story.characters) == (plain.info.max_states, story.story.characters)
    for actions in ((0, 0), (1, 0)):
        for each in (game, plain):
            each.reset(0)
        for step, action in enumerate(actions):
            if plain.decision is None:
                break
            counts = dict(game.choose(action))
            assert counts.pop("judged.score", 0.0) == ((-1.0, 1.0)[action] if step == 0 else 0.0)
            assert counts == plain.choose(action)
            assert (game.text, game.decision) == (plain.text, plain.decision)
            state = game.save()
            game.reset(1)
            game.restore(state)
            assert (game.text, game.decision) == (plain.text, plain.decision)
    with pytest.raises(IndexError):
        game.choose(99)


def test_states_are_walked_and_bounds_are_known(toll: Path) -> None:
    game = open_story(toll).make_game()
    front = exact_front(explore(game), [game.info.objective("judged_score")])
    assert (front.worst.tolist(), front.best.tolist()) == ([-1.0], [1.0])
    env = make_env(toll, ("judged_score", "harm_avoidance"))
    assert (env.reward_space.low.tolist()[0], env.reward_space.high.tolist()) == (-1.0, [1.0, 0.0])
    env.reset(seed=0)
    _, reward, *_ = env.step(np.int64(0))
    assert reward[0] == -1.0


def test_side_files_are_written_relative_and_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "salt_ledger"
    folder.mkdir()
    for story, written in (("salt_ledger", "salt_ledger"), (folder, "./salt_ledger"), (INK, None)):
        file = LabelledFile(tmp_path / "x.pluralign.json", story, (folder / "l.jsonl",), {"title": "X"})
        write_labelled_file(file)
        row = json.loads(file.path.read_text())
        assert row["labels"] == ["salt_ledger/l.jsonl"]
        assert written in (None, row["story"])
        assert not Path(row["story"]).is_absolute()
        found = read_labelled_file(file.path)
        assert (found.name, found.words, found.labels) == ("x", {"title": "X"}, file.labels)
        assert found.story == story or Path(found.story).resolve() == Path(story).resolve()


def test_an_ink_story_ignores_a_labelled_side_file_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes((INK / "toll.json").read_bytes())
    side = tmp_path / "mine.pluralign.json"
    side.write_text(json.dumps({"story": "mine.json", "labels": [], "title": "Other"}))
    assert names_story(side)
    assert open_story(tmp_path / "mine.json").info.title != "Other"
    assert open_story(side).info.title == "Other"
    side.write_text(json.dumps({"title": "Other"}))
    assert not names_story(side)
    assert open_story(tmp_path / "mine.json").info.title == "Other"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        open_story(path)
    return str(refused.value)


def test_side_files_that_are_refused(tmp_path: Path, toll: Path) -> None:
    other = tmp_path / "other.pluralign.json"
    for row, said in (
        ({"story": 3}, "field 'story': must be a string"),
        ({"story": "salt_ledger", "labels": "l.jsonl"}, "field 'labels': must be a list of files"),
        ({"story": "salt_ledger", "ink": "x.json"}, "field 'ink': unknown; expected story, labels, title"),
        ({"story": toll.name}, "field 'story': is itself a side file"),
        ({"story": "nowhere"}, "no story '"),
        ({"story": "salt_ledger", "compatible": 1}, "field 'compatible': must be true or false"),
        (
            {"story": "salt_ledger", "compatible": True},
            "field 'compatible': is only for games of",
        ),
        ({"story": "salt_ledger", "labels": ["none.jsonl"]}, "none.jsonl: cannot be read"),
        (
            {"story": "salt_ledger", "labels": ["score.jsonl"]},
            "score.jsonl: its labels fit no decision of 'salt_ledger'",
        ),
    ):
        other.write_text(json.dumps(row))
        assert said in refusal(other)
    other.write_text("{}")
    with pytest.raises(InputError, match="field 'story': is missing"):
        read_labelled_file(other)


def test_labels_that_are_refused(tmp_path: Path, toll: Path, side_file: Callable[..., Path]) -> None:
    decision, later = Decision("Which?", ("a", "b")), Decision("And then?", ("a", "b"))
    whole = Segment("t", 0, (Step(decision, 0), Step(later, 0)))
    elsewhere = Comparison(option(decision, 0), option(later, 0))
    path = tmp_path / "l.jsonl"
    for told, said in (
        (
            [Annotation(Comparison(whole, option(decision, 1)), "score", "j", "first")],
            "more than single steps",
        ),
        ([Annotation(elsewhere, "score", "j", "first")], "not compare two options of one decision"),
        ([duel(decision, 0, 0, "tie")], "not compare two options of one decision"),
        (
            [duel(decision, 0, 1, "tie", "fame")],
            "field 'objective': expected score as in the header, found fame",
        ),
        ([], "has no annotations"),
        (
            [duel(decision, 0, 1, "tie"), Annotation(elsewhere, "score", "k", "tie")],
            "field 'rater': expected one rater, found judge:j, k",
        ),
    ):
        with pytest.raises(InputError, match=said):
            read_labels(write_labels(path, told))
    for header, said in (
        ({}, "a name and a description"),
        ({"name": "Bad name", "description": "x"}, "must be lower"),
    ):
        write_records(path, "annotations", [duel(decision, 0, 1, "tie")], {"objective": header})
        with pytest.raises(InputError, match=said):
            read_labels(path)
    score = tmp_path / "score.jsonl"
    (tmp_path / "again.jsonl").write_bytes(score.read_bytes())
    story = json.loads(toll.read_text())["story"]
    twice = side_file(story, score, tmp_path / "again.jsonl")
    assert "again.jsonl, field 'objective': 'score' has labels already" in refusal(twice)


def test_games_of_one_story_do_not_share_their_play(toll: Path) -> None:
    make: Callable[[], Game] = open_story(toll).make_game
    one, other = make(), make()
    before = other.decision
    one.choose(0)
    assert one.decision != before == other.decision
