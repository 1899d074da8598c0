"""Scenes made of scraps end in a result or an error with file and line, and never go on for ever."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame

SCRAPS = """
a b t t_1 arr x one startup second true 0 3 2.5 "s" " ( ) [ ] { } + - * / %+ ^ = < >= and or not( round( # &
${a} ${arr[1]} @{a one|two} @{ | text *hide_reuse *if length( modulo é choice_randomtest
"""
COMMANDS = """
choice fake_choice if elseif else goto gosub goto_scene gosub_scene return label set temp temp_array params
rand input_number input_text finish ending print delete reset hide_reuse allow_reuse disable_reuse
selectable_if stat_chart page_break achieve save_checkpoint restore_checkpoint goto_random_scene setref
gotoref comment image script bug create achievement scene_list delete_array random_weight nonsense
"""
SOUND = """*choice
*label x
*goto x
*set a +1
*set a a*a
*if a > 2
*else
*finish
*gosub x 1
*params t
*return
*temp t 3
*rand a 1 6
#One.
#Two ${a}.
*goto_scene second
*gosub_scene second x
*save_checkpoint
*restore_checkpoint"""

words = st.lists(st.sampled_from([*SCRAPS.split(), "\u2028", "\t"]), max_size=5).map(" ".join)
line = st.one_of(
    st.tuples(st.sampled_from(COMMANDS.split()), words).map("*{0[0]} {0[1]}".format),
    st.sampled_from(SOUND.splitlines()),
    st.sampled_from(SOUND.splitlines()),
    words.map("#{}".format),
    words,
)
indented = st.tuples(st.sampled_from(["", "", "  ", "  ", "    ", "    ", "      ", "   ", "\t"]), line)
scenes = st.lists(indented.map("".join), min_size=1, max_size=25).map("\n".join)


def play(sources: dict[str, str], seed: int) -> InputError | None:
    """Play at random; the error, where there is one."""
    lots = random.Random(seed)
    try:
        game = ChoiceScriptGame(compile_story("fuzz", sources, "fuzz"), max_lines_per_step=500)
        game.reset(seed)
        for _ in range(30):
            if game.decision is None:
                break
            game.choose(lots.randrange(len(game.decision.options)))
            saved = game.save()
            game.restore(saved)
            assert game.save() == saved
            hash(saved)
    except InputError as error:
        return error
    return None


@settings(max_examples=300)
@given(first=scenes, second=scenes, implicit=st.booleans(), seed=st.integers(0, 2**32))
def test_no_scene_breaks_the_engine(first: str, second: str, implicit: bool, seed: int) -> None:
    head = "*create a 0\n*create arr_1 2\n" + "*create implicit_control_flow true\n" * implicit
    sources = {"startup": head + first, "second": second}
    error = play(sources, seed)
    if error is not None:
        scene = str(error.path).removeprefix("fuzz/").removesuffix(".txt")
        assert error.row is not None
        assert 1 <= error.row <= sources[scene].count("\n") + 1
