"""Load time and memory grow with the game, and not with its square."""

from __future__ import annotations

import math
import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pluralign.games.choicescript.check.analysis import reachable
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame

Make = Callable[[int], str]


def rows(line: str, count: int) -> str:
    """A line, or several, once for each number, which stands for N."""
    return "".join(line.replace("N", str(number)) for number in range(count))


GAMES: dict[str, tuple[int, Make]] = {
    "blank lines": (10_000, lambda n: "x\n" + "\n" * n + "y\n"),
    "elements of an array": (2_000, lambda n: f"*temp_array a {n} 0\n${{a[3]}}"),
    "references to an array": (
        400,
        lambda n: f"*create_array a {n} 0\n*create i 1\n" + rows("*set a[i] {i}\n${a[i]}\n", n),
    ),
    "branches": (1_250, lambda n: "*temp x 5\n*if x = 0\n  a\n" + rows("*elseif x = N\n  b\n", n)),
    "branches of options": (
        150,
        lambda n: (
            "*temp x 5\n*choice\n  #z\n    *finish\n  *if x = 0\n    #a\n      *finish\n"
            + rows("  *elseif x = N\n    #bN\n      *finish\n", n)
        ),
    ),
    "choices": (400, lambda n: rows("*label lN\nt\n*choice\n  #a\n    *goto lN\n  #b\n    *finish\n", n)),
    "options": (800, lambda n: "*hide_reuse\n*choice\n" + rows("  #aN\n    *finish\n", n)),
    "fake choices": (400, lambda n: rows("*fake_choice\n  #a\n  #b\n", n)),
    "variables and choices": (
        400,
        lambda n: rows("*create vN 0\n", n) + rows("${vN}\n*choice\n  #a\n    *goto lN\n*label lN\n", n),
    ),
    "temporaries and endings": (400, lambda n: rows("*temp vN N\n*if vN < 0\n  *finish\n", n)),
    "computed labels": (300, lambda n: '*temp w "l0"\n' + rows('*label lN\n*if w = "x"\n  *gotoref w\n', n)),
    "checkpoints restored": (
        300,
        lambda n: (
            rows("*save_checkpoint\nx\n", n) + "*choice\n" + rows("  #aN\n    *restore_checkpoint\n", n)
        ),
    ),
    "calls and returns": (
        400,
        lambda n: rows("*gosub sN N\n", n) + rows("*label sN\n*params a\n*return\n", n),
    ),
    "arrays deleted": (300, lambda n: rows("*create_array vN 1 1\n", n) + rows("*delete_array vN\n", n)),
    "values in a line": (800, lambda n: "*temp x 1\n" + "${x} or @{x one|two} " * n),
    "spaces in a line": (20_000, lambda n: "*temp x\n*input_text x" + " " * n + "allow_blank"),
    "lines of a chart": (400, lambda n: "*temp x 1\n*stat_chart\n" + rows("  text x\n", n)),
    "errors": (800, lambda n: rows("*nonsense N\n", n)),
}


def load(source: str) -> None:
    """Compile a story, and follow its flow as the checker does."""
    reachable(compile_story("grown", {"startup": "*title Grown\n*create z 0\n" + source}, "grown").program)


def seconds(source: str, enough: float = 0.0) -> float:
    """CPU seconds of the fastest of three loads, or of the first that is fast enough."""
    fastest = math.inf
    for _ in range(3):
        start = time.process_time()
        load(source)
        fastest = min(fastest, time.process_time() - start)
        if fastest < enough:
            break
    return fastest


def peak(source: str) -> int:
    """Bytes in use at most."""
    tracemalloc.start()
    load(source)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("kind", GAMES)
def test_four_times_the_game_takes_about_four_times_the_time(kind: str) -> None:
    size, make = GAMES[kind]
    # The square would be 16 times; the rest is room for caches and other programs.
    most = 9 * seconds(make(size)) + 0.05
    four_times = seconds(make(4 * size), enough=most)
    assert four_times < most, (four_times, most)


@pytest.mark.parametrize("kind", GAMES)
def test_four_times_the_game_takes_about_four_times_the_memory(kind: str) -> None:
    size, make = GAMES[kind]
    once, four_times = peak(make(size // 4)), peak(make(size))
    assert four_times < 7 * once + 200_000, (once, four_times)


def test_an_array_of_ten_thousand_fits_into_little_memory() -> None:
    assert peak("*temp_array a 10000 0\n${a[3]}") < 30_000_000


LOOPS: dict[str, tuple[int, Make]] = {
    "branches of options": (
        50,
        lambda n: (
            "*temp x 5\n*label l\n*choice\n  #z\n    *goto l\n  *if x = 0\n    #a\n      *goto l\n"
            + rows("  *elseif x = 7N\n    #bN\n      *goto l\n", n)
        ),
    ),
    "branches that fall": (
        50,
        lambda n: (
            "*create implicit_control_flow true\n*temp x 0\n*label l\n*choice\n  *if x = 0\n    #a\n      a\n"
            + rows("  *elseif x = N\n    #bN\n      b\n", n)
            + "*goto l"
        ),
    ),
    "named checkpoints": (
        50,
        lambda n: (
            "*label again\n*choice\n  #z\n    *goto b\n"
            + rows("  #aN\n    *restore_checkpoint cN\n", n)
            + "*label b\n"
            + rows("*save_checkpoint cN\n", n)
            + rows("*save_checkpoint cN\n", n)
            + "*goto again"
        ),
    ),
    "resets": (
        50,
        lambda n: (
            rows("*create vN 0\n", n)
            + "*label again\n*choice\n  #z\n    *goto b\n*label b\n"
            + "*reset\n" * n
            + "*goto again"
        ),
    ),
}


def work(source: str) -> int:
    """Lines of Python executed to load a story and to play three steps."""
    count, before = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        story = compile_story("grown", {"startup": "*title Grown\n*create z 0\n" + source}, "grown")
        game = ChoiceScriptGame(story)
        for _ in range(3):
            game.choose(0)
            game.save()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", LOOPS)
def test_four_times_the_game_takes_about_four_times_the_work(kind: str) -> None:
    size, make = LOOPS[kind]
    work(make(size))
    once, four_times = work(make(size)), work(make(4 * size))
    assert four_times < 4.2 * once, (once, four_times)
