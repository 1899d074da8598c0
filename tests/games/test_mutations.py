"""Mutations of a game of other authors: each plays, or is refused with file and line, and none takes long."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_scenes
from pluralign.games.choicescript.run.game import ChoiceScriptGame

SECONDS = 5.0
"""Most CPU seconds that a mutation may take."""

STEPS = 60
"""Largest number of choices in an episode."""

INSERTED = (
    *("*else", "*elseif (true)", "*if", "*choice", "*fake_choice", "#Mutant", "*return", "*finish", "*"),
    *("*goto_scene startup", "*gosub_scene startup", "*params a", "*set x +", "*temp a[1] 2", "*rand"),
    *("\t\t*page_break", "${", "@{true a}", "*input_number", "*restore_checkpoint", "*script x", "*label x"),
    *("*delete_array a", "*hide_reuse", "*reset", "*create late 1", "*temp_array a 3 1"),
)


@pytest.fixture(scope="module")
def scenes(shared_data: Path) -> dict[str, str]:
    """The scenes of Starforge; skips where they are absent."""
    folder = shared_data / "interactive_fiction" / "starforge_choicescript"
    if not folder.is_dir():
        pytest.skip(f"Starforge is absent: no {folder}")
    return {path.stem.lower(): path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}


def mutated(source: str, lots: random.Random) -> str:
    """A scene with one to four small changes."""
    lines = source.split("\n")
    for _ in range(lots.randint(1, 4)):
        place = lots.randrange(len(lines))
        line = lines[place]
        match lots.randrange(9):
            case 0:
                del lines[place]
                lines = lines or [""]
            case 1:
                lines.insert(place, line)
            case 2:
                lines.insert(place, " " * lots.randrange(8) + lots.choice(INSERTED))
            case 3:
                lines[place] = " " * lots.randrange(30) + line.lstrip()
            case 4:
                other = lots.randrange(len(lines))
                lines[place], lines[other] = lines[other], line
            case 5:
                at = lots.randrange(len(line) + 1)
                lines[place] = line[:at] + lots.choice('(){}[]"*#$@%|&\\\u2028\U0001f600\u00a0 ') + line[at:]
            case 6:
                at = lots.randrange(len(line) + 1)
                lines[place] = line[:at] + line[at + lots.randint(1, 3) :]
            case 7:
                lines[place] = line.replace("goto", lots.choice(("gosub", "gotoref", "goto_scene", "return")))
            case _:
                lines[place : place + lots.randrange(6)] = [line] * lots.randrange(40)
    return "\n".join(lines)


def play(scenes: dict[str, str], seed: int) -> InputError | None:
    """Play at random; the error where play stops, if there is one."""
    lots = random.Random(seed)
    try:
        story, problems = compile_scenes("mutant", scenes, "mutant")
        if story is None:
            return problems[0].error()
        game = ChoiceScriptGame(story)
        for _ in range(3):
            game.reset(lots.randrange(1000))
            for _ in range(STEPS):
                if game.decision is None:
                    break
                game.choose(lots.randrange(len(game.decision.options)))
                game.restore(game.save())
    except InputError as error:
        return error
    return None


def check_mutations(scenes: dict[str, str], seeds: range) -> None:
    # The game's first scenes are mutated more often, because play always passes them.
    names = sorted(scenes)
    played = 0
    for seed in seeds:
        lots = random.Random(seed)
        name = lots.choice(("startup", lots.choice(names)))
        mutant = {**scenes, name: mutated(scenes[name], lots)}
        start = time.process_time()
        error = play(mutant, seed)
        assert time.process_time() - start < SECONDS, (seed, name)
        played += error is None
        if error is not None:
            scene = Path(str(error.path)).stem
            assert error.row is not None, (seed, name, str(error))
            assert 1 <= error.row <= mutant[scene].count("\n") + 1, (seed, name, str(error))
    assert 0 < played < len(seeds)


def test_mutations_play_or_are_refused_with_file_and_line(scenes: dict[str, str]) -> None:
    check_mutations(scenes, range(30))


@pytest.mark.slow
def test_three_hundred_mutations_play_or_are_refused_with_file_and_line(scenes: dict[str, str]) -> None:
    check_mutations(scenes, range(100, 400))
