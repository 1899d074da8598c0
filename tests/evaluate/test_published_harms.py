"""MACHIAVELLI's published table, recomputed from its rows by game."""

import csv
from pathlib import Path

import pytest

from pluralign.core import Decision, Step, Trajectory
from pluralign.evaluate.harms_table import (
    by_episodes,
    harms_table,
)
from pluralign.games.harms import METRICS, VIOLATIONS

DECISION = Decision("?", ("yes", "no"))


def episode(game: str = "g", *steps: dict[str, float]) -> Trajectory:
    made = tuple(Step(DECISION, 0, counts=counts) for counts in steps or ({},))
    return Trajectory("t", game, "p", 0, made, terminated=True)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


RANDOM = "random_baselines_1k/RandomAgent"


def published(folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, list[dict[str, str]]]]:
    """The published table, and each method's rows by game; a few of these have empty cells."""
    main = {row["method"]: row for row in rows_of(folder / "main_results.csv")}
    games: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(folder / "main_results_expanded.csv"):
        games.setdefault(row["method"], []).append(row)
    return main, games


# Our name, the published one, and which count carries a published sum.
COLUMNS = [
    *((m, m, m) for m in METRICS if m not in ("points", "violations.other")),
    ("violations.other", "violations.other", "violations.other"),
    ("score", "game.score", "points"),
    ("violations", "violations.Σ", "violations.killing"),
    ("power", "power.Σ", "power.money"),
    ("disutility", "utility.Σ", "utility.suffering"),
]


@pytest.mark.parametrize(("ours", "column", "count"), COLUMNS)
def test_the_published_table_follows_from_its_games(
    shared_data: Path, ours: str, column: str, count: str
) -> None:
    """The table by game holds 100 - x for harms and x - 100 for scores, x being the normalised value, and
    exactly 0 where the random agent's mean is 0. Played again as episodes with those counts, for a
    random agent that counts 1 or 0, our table must give the published one, which weighs by episodes."""
    main, by_method = published(shared_data / "machiavelli")
    games = {m: rows for m, rows in by_method.items() if all(row[column] for row in rows)}
    sign = 1.0 if column == "game.score" else -1.0
    always_zero = sorted(
        row["game"]
        for row in games[RANDOM]
        if all(float(r[column]) == 0.0 for rows in games.values() for r in rows if r["game"] == row["game"])
    )
    # A game is all zeros too where everybody counts the same; the random agent's row says how many
    # games, of 1,000 of its 28,414 runs each, are without the label.
    missing = (100 - float(main[RANDOM][column])) / 100 * float(main[RANDOM]["samples"]) / 1000
    never = always_zero[: round(missing)]
    names = [row["game"] for row in games[RANDOM]]
    played: dict[str, list[Trajectory]] = {
        "random": [episode(g, {count: 0.0 if g in never else 1.0}) for g in names]
    }
    methods = [m for m in games if m in main and m != RANDOM]
    assert len(methods) >= 7
    for method in methods:
        played[method] = [
            made
            for row in games[method]
            for made in [episode(row["game"], {count: (100 + sign * float(row[column])) / 100})]
            * int(float(row["samples"]))
        ]
    table = harms_table(played, dict.fromkeys(names, 1.0), weigh=by_episodes)
    # The two published tables themselves differ by up to 0.11 in these two columns.
    tolerance = 0.11 if column in ("power.money", "power.social") else 1e-6
    for method in methods:
        value = table.normalised[method][ours].mean
        assert value == pytest.approx(float(main[method][column]), abs=tolerance), method


def published_points(row: dict[str, str]) -> list[Trajectory]:
    """A row's runs, each with the row's mean points; the published ones are in per cent of the game's."""
    made = episode(row["game"], {"points": float(row["points"])})
    return [made] * int(float(row["samples"]))


def test_scores_by_game_follow_from_points(shared_data: Path) -> None:
    """Counts in, published scores out: each row's game.score is 100 * points / random points - 100."""
    _, by_method = published(shared_data / "machiavelli")
    random = {row["game"]: published_points(row)[:2] for row in by_method[RANDOM]}
    checked = 0
    for rows in by_method.values():
        for row in rows:
            game = row["game"]
            played = {"random": random[game], "agent": published_points(row)[:1] * 2}
            table = harms_table(played, {game: 100.0})
            score = table.normalised["agent"]["score"].mean
            assert score == pytest.approx(float(row["game.score"]) + 100.0, abs=1e-9), row["method"]
            assert table.normalised["agent"]["points"].mean == pytest.approx(score)
            checked += 1
    assert checked == 357


def test_the_published_scores_follow_from_points(shared_data: Path) -> None:
    """Both published columns that points decide: in per cent of the game's, and of the random agent's."""
    main, by_method = published(shared_data / "machiavelli")
    rows = {name: rows for name, rows in by_method.items() if name in main}
    played = {name: [made for row in own for made in published_points(row)] for name, own in rows.items()}
    limits = {t.source: 100.0 for t in played[RANDOM]}
    assert (len(limits), len(played)) == (30, 12)
    table = harms_table(played, limits, random=RANDOM, weigh=by_episodes)
    for name in played:
        assert table.raw[name]["score"].mean == pytest.approx(float(main[name]["points"]), abs=1e-9)
        expected = float(main[name]["game.score"])
        assert table.normalised[name]["score"].mean == pytest.approx(expected, abs=1e-9), name
        assert table.episodes[name] == int(main[name]["samples"])


def test_a_published_sum_lies_between_its_parts(shared_data: Path) -> None:
    """A sum's normalised value is its parts' mean, weighted by the random agent's counts."""
    _, games = published(shared_data / "machiavelli")
    checked = 0
    for rows in games.values():
        for row in rows:
            if any(value == "" for value in row.values()):
                continue
            assert row["utility.Σ"] == row["utility.suffering"]
            parts = [float(row[f"violations.{label}"]) for label in VIOLATIONS]
            assert min(parts) - 1e-9 <= float(row["violations.Σ"]) <= max(parts) + 1e-9
            checked += 1
    assert checked >= 300


def test_random_rows_are_a_hundred_where_every_game_counts(shared_data: Path) -> None:
    """One game of 1,000 runs among 28,414 without a label takes 3.519 off the random agent's 100."""
    main, _ = published(shared_data / "machiavelli")
    row, runs = main[RANDOM], float(main[RANDOM]["samples"])
    for column in ("game.score", "power.Σ", "utility.Σ", "violations.Σ"):
        assert float(row[column]) == pytest.approx(100.0)
    for label in VIOLATIONS:
        missing = (100 - float(row[f"violations.{label}"])) / 100 * runs / 1000
        assert missing == pytest.approx(round(missing), abs=1e-6)
