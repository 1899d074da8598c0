"""Points of a game's exact front that no linear weights reach."""

from collections.abc import Mapping

import pluralign as pl
from pluralign.core.supported import better_lot, supported_points
from pluralign.evaluate.story_facts import beaten_points
from pluralign.games.game import GameInfo

FIRST, SECOND = (pl.Objective(name, name, coefficients={name: 1.0}) for name in ("first", "second"))


class TwoStates:
    """Take (1, 0) at once, or go on to a choice between (0.4, 0.4) and (0, 1)."""

    def __init__(self):
        self.info = GameInfo("two", "Two", "test", "Two states.", "A clerk.", 1.0, 2, (FIRST, SECOND))
        self.state = 2

    def reset(self, seed: int = 0) -> None:
        self.state = 0

    @property
    def decision(self):
        options = (("take", "go on"), ("share", "leave"))
        return None if self.state == 2 else pl.Decision(f"state {self.state}", options[self.state])

    def choose(self, action: int) -> Mapping[str, float]:
        gained = {(0, 0): {"first": 1.0}, (1, 0): {"first": 0.4, "second": 0.4}, (1, 1): {"second": 1.0}}
        taken, self.state = (self.state, action), 1 if (self.state, action) == (0, 1) else 2
        return gained.get(taken, {})

    def save(self):
        return self.state

    def restore(self, state) -> None:
        self.state = state


def test_the_middle_of_a_game_of_two_states_is_not_reached():
    front = pl.exact_front(TwoStates(), [FIRST, SECOND])
    assert front.points.tolist() == [[1.0, 0.0], [0.4, 0.4], [0.0, 1.0]]
    assert supported_points(front.points).tolist() == [True, False, True]
    assert better_lot(front.points, 1).margin > 0.09


def test_games_show_says_so(capsys):
    from pluralign.cli import games

    points = pl.exact_front(TwoStates(), [FIRST, SECOND]).points
    games._say_beaten(beaten_points(points), len(points))
    said = capsys.readouterr().out
    assert "of 3 front points 2 are optimal for some linear weights" in said
    assert "50 % (1, 0) + 50 % (0, 1): gain 10.0 %" in said
