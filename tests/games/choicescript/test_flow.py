"""Where play goes, as in the official engine: out of options, into branches and past wrong lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pluralign.core import Decision, InputError
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]
Shown = Callable[..., str]
HEAD = "*title T\n*create a 0\n*create b true\n"
IMPLICIT = HEAD + "*create implicit_control_flow true\n"

SIDES = "Left or right?\n*choice\n  #Left\n    You go left.\n  #Right\n    You go right.\nThe road ends."


def play(game: ChoiceScriptGame, *actions: int) -> str:
    game.reset()
    for action in actions:
        game.choose(action)
    return game.text


def test_play_falls_out_of_the_last_option_only(make_game: MakeGame) -> None:
    game = make_game(SIDES, head=HEAD)
    assert play(game, 1) == "You go right. The road ends."
    with pytest.raises(InputError, match=r"startup\.txt:6: play falls out of this option"):
        play(game, 0)
    assert play(make_game(SIDES, head=IMPLICIT), 0) == "You go left. The road ends."
    assert (
        play(make_game(SIDES.replace("*choice", "*fake_choice"), head=HEAD), 0)
        == "You go left. The road ends."
    )


def test_an_annotated_story_may_not_fall_out_of_an_option(make_game: MakeGame) -> None:
    game = make_game(SIDES.replace("    You", "    *comment pluralign {}\n    You"), head=HEAD)
    with pytest.raises(InputError, match=r"startup\.txt:9: play falls out of this option"):
        play(game, 1)


@pytest.mark.parametrize(
    ("options", "action", "text"),
    [
        # The last option may be inside a condition, or the last that is listed.
        ("#A\n    *finish\n  *if b\n    #B\n      bee\n", 1, "bee end"),
        ("#A\n    *finish\n  *comment none follows\n\n", 0, ""),
        ("#A\n    one\n  *if (b = false) #B\n    bee\n", 0, None),
        ("#A\n    one\n  *if b\n    #B\n      bee\n", 0, None),
        ("#A\n    one\n  *hide_reuse #B\n    bee\n", 0, None),
        ("#A\n    one\n  *comment more\n  #B\n    bee\n", 0, None),
        ("*if b\n    #A\n      one\n  *else\n    #B\n      bee\n", 0, None),
        ('#A\n    *finish\n  *print "#B"\n    bee\n', 1, "bee end"),
        ("#A\n    one\n\n  #B\n    bee\n\n", 1, "bee\n\nend"),
    ],
)
def test_falling_out_of_a_choice(make_game: MakeGame, options: str, action: int, text: str | None) -> None:
    game = make_game(f"*choice\n  {options}end", head=HEAD)
    if text is None:
        with pytest.raises(InputError, match="play falls"):
            play(game, action)
    else:
        assert play(game, action) == text


@pytest.mark.parametrize(
    ("head", "into"),
    [(HEAD, r"falls into \*else"), (IMPLICIT, ""), (HEAD.replace("true", '"true"'), "falls")],
)
def test_an_else_among_options_is_no_end(make_game: MakeGame, head: str, into: str) -> None:
    game = make_game("*fake_choice\n  *if b\n    #A\n      one\n  *else\n    #B\n      bee\nend", head=head)
    if into:
        with pytest.raises(InputError, match=into):
            play(game, 0)
    else:
        assert play(game, 0) == "one end"


def test_falling_out_of_one_of_several_groups(make_game: MakeGame) -> None:
    lines = """\
        *fake_choice colour toy
          #Red
            #Ship
              red ship
            #Ball
              red ball
          #Blue
            #Ship
              blue ship
            #Ball
              blue ball
        end
        """
    game = make_game(lines, head=HEAD)
    assert play(game, 0, 1) == "red ball end"
    assert play(game, 1, 1) == "blue ball end"
    # The next option of the inner group does not end the one above it.
    with pytest.raises(InputError, match=r"startup\.txt:6: play falls out"):
        play(game, 0, 0)


def test_options_without_lines(make_game: MakeGame) -> None:
    lines = "*choice\n  #A\n  #B\n    bee\nend"
    game = make_game(lines, head=HEAD)
    assert game.decision == Decision("", ("A", "B"))
    assert play(game, 1) == "bee end"
    with pytest.raises(InputError, match=r"startup\.txt:5: this option has no lines"):
        play(game, 0)
    last = "*choice\n  #A\n    *finish\n  {}#B\nend"
    with pytest.raises(InputError, match=r"startup\.txt:7: this option has no lines"):
        make_game(last.format(""), head=HEAD)
    assert make_game(last.format("*if (b = false) "), head=HEAD).decision == Decision("", ("A",))
    assert play(make_game(last.format("").replace("*choice", "*fake_choice"), head=HEAD), 1) == "end"
    assert play(make_game(last.format(""), head=IMPLICIT), 1) == "end"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        # Comments and blank lines between branches.
        (
            "*if a = 1\n  one\n*comment note\n*elseif a = 2\n  two\n*comment note\n\n*else\n  many\nend",
            "many end",
        ),
        ("*if a = 1\n  one\n\n*comment note\n\n*else\n  many\n\nend", "many\n\nend"),
        ("*if a = 0\n  zero\n  *goto x\n*comment note\n*else\n  many\n*label x\nend", "zero end"),
        # Empty branches: a condition that holds needs no lines.
        ("*if a = 0\nend", "end"),
        ("*if a = 1\n  one\n*elseif a = 0\nend", "end"),
        ("*if a = 1\n  one\n*else\nend", "end"),
        ("*if a = 0\n  *comment nothing\nend", "end"),
        # Wrong lines in a branch that is not taken.
        ("*if a = 0\n  zero\n  *goto x\n*else if a = 1\n  one\n*label x\nend", "zero end"),
        ("*if a = 0\n  zero\n  *goto x\n*elseif nobody\n  one\n*label x\nend", "zero end"),
        ("*if a = 1\n  *shout\n  ${nobody}\n  *goto nowhere\nend", "end"),
        ("*if a = 1\n  one\n*comment the block ends here\n    two\nend", "end"),
    ],
)
def test_branches(shown: Shown, lines: str, text: str) -> None:
    assert shown(lines, head=HEAD) == text


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("*if a = 1\nend", "4: expected lines indented under *if"),
        ("*if a = 1\n  one\n*elseif a = 2\nend", "6: expected lines indented under *elseif"),
        ("*if a = 0\n*else\n  many", "5: play falls into *else"),
        ("*if a = 0\n  zero\n*comment note\n*else\n  many", "7: play falls into *else"),
        ("*if a = 1\n  one\n*else if a = 0\n  zero", "6: expected nothing after *else"),
        ("*if a = 0\n  zero\nand\n*else\n  many", "7: *else without an *if"),
        ("*if a = 0\n  zero\n*comment the block ends here\n    two\nend", "7: indented by 4"),
        ("*create implicit_control_flow true\n*if a = 0\n  zero\n*else\nend", "7: expected lines indented"),
        ("*create implicit_control_flow true\nand\n*else\nend", "6: expected lines indented"),
    ],
)
def test_branches_that_stop_play(make_game: MakeGame, lines: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make_game(lines, head=HEAD)
    assert f"startup.txt:{said}" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("*if a = 0\n  zero\n*comment note\n*elseif a = 1\n  one\n*else\n  many\nend", "zero end"),
        # Blank lines between the branches that play passes end the paragraph.
        ("*if a = 0\n  zero\n*elseif a = 1\n  one\n\n*else\n  many\nend", "zero\n\nend"),
        ("*if a = 0\n  zero\n\n*else\n  many\nend", "zero\n\nend"),
        ("*if a = 0\n  *if a = 1\n    no\n\n*else\n  many\nend", "end"),
        ("yes\n*if a = 0\n  *if a = 1\n    no\n\n*else\n  many\nend", "yes\n\nend"),
        # An *else by itself is passed.
        ("*if a = 0\n  zero\nand\n*else\n  many\nend", "zero and end"),
        ("one\n*elseif a = 0\n  zero\nend", "one end"),
        ("*if a = 0\n  zero\n*else\n  many\n*else\n  more\nend", "zero end"),
        ("*if a = 1\n  one\n*else\n  many\n*else\n  more\nend", "many end"),
    ],
)
def test_branches_with_implicit_control_flow(shown: Shown, lines: str, text: str) -> None:
    assert shown(lines, head=IMPLICIT) == text


@pytest.mark.parametrize(
    ("options", "listed", "line"),
    [
        ("*if (b = false)\n    #Two\n      *finish\n    *goto x", ("One",), 8),
        ("*if (b = false)\n    words", ("One",), 6),
        ("*if (b = false)\n    *if (nobody = 1)\n      #Two\n        *finish", ("One",), 6),
        ("*if (b = false)\n    #Of ${nobody}\n      *finish", ("One",), 6),
        ("*if (b = false)\n    *set a 1", ("One",), 6),
        (
            "*if b\n    #Two\n      *finish\n  *elseif (nobody = 1)\n    #Three\n      *finish",
            ("Two", "One"),
            0,
        ),
        (
            "*if not(b)\n    #Two\n      *finish\n  *elseif (b = true)\n    #Three\n      *finish",
            ("Three", "One"),
            0,
        ),
        ("*else\n    #Two\n      *finish", ("One",), 0),
        ("*if b\n  #Two\n    *finish", ("Two", "One"), 0),
        ("*if not(b)\n  #Two\n    *finish", None, 5),
        (
            "*if (b = false)\n    #Two\n      *finish\n  *comment note\n\n  *else\n    #Three\n      *finish",
            ("Three", "One"),
            0,
        ),
        ('*if b\n    *print "#" & a\n      *finish', ("0", "One"), 0),
        ('*print "no sign"\n    *finish', None, 5),
        ("*if b\n    #Two\n      *finish\n  *else", None, 8),
        ("*else", None, 5),
        ("*if b\n    #Two\n      *finish\n  *else if b\n    #Three\n      *finish", None, 8),
        ("*if not(b)\n    #Two\n      *finish\n  *else if b\n    #Three\n      *finish", None, 8),
        ("*if not(b)\n    #Two\n      *finish\n  *elseif (b) #Three\n    *finish", None, 8),
    ],
)
def test_wrong_lines_among_options(
    make_game: MakeGame, options: str, listed: tuple[str, ...] | None, line: int
) -> None:
    lines = f"*choice\n  {options}\n  #One\n    *finish\n*label x"
    if listed is not None:
        assert make_game(lines, head=HEAD).decision == Decision("", listed)
        lines = lines.replace("(b = false)", "b")
    if line:
        with pytest.raises(InputError, match=rf"startup\.txt:{line}: "):
            make_game(lines, head=HEAD)


def test_print_makes_options(make_game: MakeGame) -> None:
    lines = """\
        *temp who "Ann"
        *choice
          *print "#Ask " & who
            asked
            *finish
          *if (a = 1)
            *print "#Never"
              *finish
          #Go.
            *finish
        """
    game = make_game(lines, head=HEAD)
    assert game.decision == Decision("", ("Ask Ann", "Go."))
    assert play(game, 0) == "asked"


def test_implicit_control_flow_set_in_play(make_game: MakeGame) -> None:
    game = make_game(
        "*set implicit_control_flow true\n" + SIDES, head=IMPLICIT.replace("flow true", "flow false")
    )
    assert play(game, 0) == "You go left. The road ends."
    game = make_game("*set implicit_control_flow false\n" + SIDES, head=IMPLICIT)
    with pytest.raises(InputError, match="falls out of this option"):
        play(game, 0)
    # Options are those of the page: a change under one of them comes too late.
    late = SIDES.replace("    You go left.", "    *set implicit_control_flow true")
    with pytest.raises(InputError, match="falls out of this option"):
        play(make_game(late, head=IMPLICIT.replace("flow true", "flow false")), 0)
    temporary = (
        "*temp implicit_control_flow b\n*if b\n  yes\n*else\n  no\nend\n*if implicit_control_flow\n  set"
    )
    assert play(make_game(temporary, head=HEAD)) == "yes end set"
    assert play(make_game("@{implicit_control_flow in|out}", head=HEAD)) == "out"
    # JavaScript takes every text but an empty one for true.
    assert play(make_game(SIDES, head=IMPLICIT.replace("flow true", 'flow "false"')), 0).startswith(
        "You go left."
    )
