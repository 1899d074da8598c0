"""The commands of ChoiceScript that games of other people use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pluralign.core import Decision, InputError
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]
FOREIGN = '*title A game\n*author Somebody\n*create a 0\n*create b 50\n*create flag false\n*create s "ann"\n'


def options(game: ChoiceScriptGame) -> tuple[str, ...]:
    assert game.decision is not None
    return game.decision.options


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Arrays are variables with numbered names.
        ("*temp_array t 3 7\n*set t[2] 9\n*set a 1\n${t[a]} ${t[a+1]} ${t_3} ${t_count}", "7 9 7 3"),
        ('*temp_array t 2 "x" "y"\n${t[1]}${t[2]}', "xy"),
        ("*temp_array t 2\n*set t[1] 5\n${t[1]}", "5"),
        ("*set arr[2] +4\n${arr[2]} of ${arr_count}", "5 of 3"),
        ("*temp m_1_2 8\n*set a 1\n${m[a][2]} ${m[1][a + 1]}", "8 8"),
        ("*temp i 2\n*temp j_2 3\n${arr[j[i]]}", "1"),
        # References.
        ('*temp ref "b"\n${{ref}}\n*set {ref} +1\n${b}', "50 51"),
        ('*temp ref "t"\n*temp t 4\n*set {ref} 5\n${t} ${{"T"}}', "5 5"),
        ('*setref "b" 3\n${b}', "3"),
        ('*temp n "two"\n*goto {n}\nno\n*label two\nyes', "yes"),
        ("*temp n 2\n*goto part[n]\nno\n*label part_2\nyes", "yes"),
        ('*gotoref "two"\nno\n*label two\nyes', "yes"),
        ('*temp n "two"\n*gosub {n} 3\n*finish\n*label two\n*params x\n${x}\n*return', "3"),
        # Subroutines with values.
        ("*gosub s 1 (a + 2) s\n*finish\n*label s\n*params x y z\n${x} ${y} ${z}\n*return", "1 2 ann"),
        ("*gosub s 5 6\n*finish\n*label s\n*params\n${param_1} ${param_2} ${param_count}\n*return", "5 6 2"),
        ("*gosub s 5 6\n*finish\n*label s\n*params x\n*temp i 2\n${x} ${param[i]}\n*return", "5 6"),
        ("*gosub s (a = 0)\n*finish\n*label s\n*params x\n@{x in|out}\n*return", "in"),
        # What takes variables away or back.
        ("*temp b 3\n*delete b\n${b}", "50"),
        ("*set b 3\n*set a 4\n*reset\n${a} ${b}", "0 50"),
        # What is printed.
        ("*print b + 1\nend", "51 end"),
        (
            "*stat_chart\n  text s Name\n  percent b\n  opposed_pair b\n    Law\n    Chaos\nend",
            "Name: ann\nb: 50%\nLaw: 50%, Chaos: 50%\n\nend",
        ),
        (
            "*stat_chart\n  opposed_pair b\n    Chaos\n      What?\n  percent b Courage\n    What?",
            "b: 50%, Chaos: 50%\nCourage: 50%",
        ),
        ("one[n/]two [url=http://x]here[/url][c/]", "one\ntwo here"),
        ("[A voice.] [/b", "[A voice.] [/b"),
        ("*temp i 2\n${arr[i]} [i]slanted[/i]", "1 slanted"),
        ("${choice_scene} of ${choice_title}", "startup of A game"),
        (
            "@{choice_is_web web|app} @{choice_randomtest test|play} @{choice_purchased_all all|some}",
            "web play all",
        ),
        ("${choice_achieved_first}\n*achieve first\n${choice_achieved_first}", "false true"),
        (
            "*check_achievements\n*if (choice_achieved_first)\n  no\n*if not(choice_achieved_first)\n  yes",
            "yes",
        ),
        # What only shows, sells or reports something.
        ("one\n*sound s.mp3\n*looplimit 5\ntwo", "one two"),
        # A picture ends the paragraph, a link is text.
        ("one\n*image cover.png center\n*link http://x y\ntwo", "one\n\ny two"),
        ("one\n*purchase all $1 paid\nno\n*label paid\ntwo", "one two"),
        ("one\n*page_break_advertisement\ntwo", "one\n\ntwo"),
        ("*config a 3\n${a}", "3"),
        # Ends.
        ("one\n*abort\ntwo", "one"),
        ("one\n*restart\ntwo", "one"),
        ("one\n*delay_ending 1\ntwo", "one"),
        # Input is answered by default.
        ("*input_text s\n*input_number a 1 6\n${s} ${a}", "Alex 3"),
        ("*input_text s long allow_blank\n*input_number a 0.5 1\n${s} ${a}", "Alex 0.75"),
        ("*input_number arr[2] 10 (a + 12)\n${arr_2}", "11"),
        ("*rand a 4 4\n${a}", "4"),
    ],
)
def test_commands(shown: Callable[..., str], lines: str, expected: str) -> None:
    head = FOREIGN + "*create_array arr 3 1\n*achievement first visible 10 First\n  Before.\n  After.\n"
    assert shown(lines, head=head) == expected


def test_arrays_of_the_head(shown: Callable[..., str]) -> None:
    head = '*create_array x 2 "p" "q"\n*create_array y 2 true\n*product all\n*ifid 1\n'
    assert shown("${x[1]}${x[2]} ${y_2} ${x_count}", head=head) == "pq true 2"


def test_scenes_named_in_play(shown: Callable[..., str]) -> None:
    second = "no\n*finish\n*label here\n*params x\nsecond ${x}\n*return"
    lines = '*temp n "second"\n*temp l "HERE"\n*gosub_scene {n} {l} 7\nback\n*goto_scene {n} {"nowhere"}'
    with pytest.raises(InputError, match=r"startup.txt:14: there is no label 'nowhere' in scene 'second'"):
        shown(lines, head=FOREIGN, second=second)
    assert shown(lines[: lines.index("\n*goto_scene")] + "\n*ending", head=FOREIGN, second=second) == (
        "second 7 back"
    )


def test_values_go_with_goto_scene(shown: Callable[..., str]) -> None:
    second = "*label start\n*params x y\n${x} ${y}"
    assert shown("*goto_scene second start (b + 1) s", head=FOREIGN, second=second) == "51 ann"


@pytest.mark.parametrize("mode", ["", "*create implicit_control_flow true\n"])
def test_several_groups_are_asked_one_after_the_other(make_game: MakeGame, mode: str) -> None:
    lines = """\
        *fake_choice colour toy
          #Red.
            #Ship.
              A red ship.
            #Ball.
              A red ball.
          *if (a = 0) #Blue.
            #Ship.
              A blue ship.
            *selectable_if (a > 0) #Ball.
              A blue ball.
        end
        """
    game = make_game(lines, head=FOREIGN + mode)
    assert game.decision == Decision("colour", ("Red.", "Blue."))
    game.choose(0)
    assert game.decision == Decision("toy", ("Ship.", "Ball."))
    game.choose(1)
    assert game.text == "A red ball. end"
    game.reset()
    game.choose(1)
    assert game.decision == Decision("toy", ("Ship.",))


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("*if a = 0 #One.", True),
        ("*if not(flag) #One.", True),
        ("*if ((a = 0) and (flag)) #One.", False),
        ('*if ((s#1) = "a") #One.', True),
        ('*if (s = "#no") #One.', False),
        ("*if (a = 0) *hide_reuse #One.", True),
        ("*hide_reuse *if (a = 1) #One.", False),
        ("*if (a = 0) *selectable_if (a = 1) #One.", False),
        ("*random_weight 3 #One.", True),
        ("*selectable_if flag #One.", False),
    ],
)
def test_conditions_on_an_options_own_line(make_game: MakeGame, line: str, listed: bool) -> None:
    game = make_game(f"*choice\n  {line}\n    *finish\n  #Two.\n    *finish", head=FOREIGN)
    assert options(game) == (("One.", "Two.") if listed else ("Two.",))


def test_an_options_text_may_hold_a_number_sign(make_game: MakeGame) -> None:
    game = make_game("*choice\n  *if (a = 0) #Take #3 (if ${b} #1).\n    *finish", head=FOREIGN)
    assert options(game) == ("Take #3 (if 50 #1).",)


def test_options_may_read_the_same_in_games_of_others(make_game: MakeGame) -> None:
    game = make_game("*choice\n  #One.\n    *finish\n  #One.\n    second", head=FOREIGN)
    assert options(game) == ("One.", "One.")


def test_long_chains_of_conditions_around_options(make_game: MakeGame) -> None:
    cases = "".join(f"  *elseif b = {i}\n    #Number {i}.\n      *finish\n" for i in range(1, 51))
    game = make_game(f"*choice\n  *if b = 0\n    #None.\n      *finish\n{cases}", head=FOREIGN)
    assert options(game) == ("Number 50.",)


def test_checkpoints_bring_back_everything_but_achievements(make_game: MakeGame) -> None:
    lines = """\
        *temp t 1
        *save_checkpoint one
        ${t} ${choice_saved_checkpoint_one} ${choice_just_restored_checkpoint}
        *choice
          #Lose.
            *achieve first
            *set t 2
            *set a 9
            *restore_checkpoint one
          #Win.
            ${a} ${choice_achieved_first}
            *finish
        """
    head = FOREIGN + "*achievement first visible 10 First\n  Before.\n  After.\n"
    game = make_game(lines, head=head)
    assert game.text == "1 true false"
    start = game.save()
    assert game.choose(0) == {"points": 10.0}
    assert game.text == "1 true true"
    assert game.choose(0) == {}
    game.choose(1)
    assert game.text == "0 true"
    game.restore(start)
    game.choose(0)
    game.choose(1)
    assert game.text == "0 true"


def test_a_checkpoint_in_another_scene(make_game: MakeGame) -> None:
    second = "*choice\n  #Back.\n    *restore_checkpoint\n  #On.\n    *finish"
    game = make_game(
        "*temp t 5\n*save_checkpoint\nhere ${t}\n*goto_scene second", head=FOREIGN, second=second
    )
    game.choose(0)
    assert game.text == "here 5"


def test_nothing_to_restore(make_game: MakeGame) -> None:
    with pytest.raises(InputError, match=r"startup.txt:7: there is no checkpoint"):
        make_game("*restore_checkpoint", head=FOREIGN)


def test_reuse_across_revisits_of_several_choices(make_game: MakeGame) -> None:
    lines = """\
        *label top
        *choice
          *hide_reuse #One.
            *goto top
          *disable_reuse *if (b = 50) #Two.
            *goto inner
          #Three.
            *goto top
        *label inner
        *choice
          *hide_reuse #One.
            *goto top
          #Back.
            *goto top
        """
    game = make_game(lines, head=FOREIGN)
    game.choose(0)
    assert options(game) == ("Two.", "Three.")
    game.choose(0)
    # The inner option of the same name was not taken yet.
    assert options(game) == ("One.", "Back.")
    game.choose(0)
    assert options(game) == ("Three.",)
