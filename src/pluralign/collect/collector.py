"""Collection of episodes into a trajectories file; interrupted runs continue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pluralign.collect.chooser import Chooser, RoundChooser
from pluralign.collect.roll_out import play
from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.checks import checked
from pluralign.core.jsonl import Fields
from pluralign.core.objective import require_goals
from pluralign.core.progress import ProgressBar
from pluralign.core.records import RecordWriter, continues, read_header, read_trajectories
from pluralign.games.game import Game
from pluralign.games.random_play import play_digest

KIND = "trajectories"

LAGGED = "lagged"
"""Value in the header of files whose steps have the counts that led to them (`GameInfo.lagged`)."""


@dataclass(frozen=True)
class CollectionReport:
    """Counts of a trajectories file, over all runs that wrote it.

    Args:
        episodes: Number of episodes in the file.
        new_episodes: Number of episodes played by this run.
        steps: Number of decisions taken.
        terminated: Number of episodes that ended.
        truncated: Number of episodes that were cut off.
        malformed_replies: Number of replies that could not be parsed.
        re_asks: Number of times that a model was asked again because of them.
        random_actions: Number of options taken at random after the last malformed reply.
        mean_returns: Mean return by objective.
    """

    episodes: int
    new_episodes: int
    steps: int
    terminated: int
    truncated: int
    malformed_replies: int
    re_asks: int
    random_actions: int
    mean_returns: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


@checked
def collect(
    make_game: Callable[[], Game],
    chooser: Chooser,
    out: str | Path,
    *,
    episodes: int,
    seed: int,
    objectives: Sequence[Objective],
    max_steps: int = 200,
    batch: int = 64,
    progress: bool = True,
) -> CollectionReport:
    """Play episodes 0 to ``episodes - 1`` and write them in order.

    An existing file is continued: only missing episodes are played, and the result equals the file of a
    single run. A larger number of episodes extends a file.

    Args:
        make_game: Function that makes a new game; see `play`.
        chooser: Player.
        out: Trajectories file.
        episodes: Number of episodes in the file.
        seed: Random seed, not negative.
        objectives: Objectives to record the rewards of.
        max_steps: Number of steps after which an episode is truncated.
        batch: Number of episodes played at once; affects only the speed.
        progress: Whether to show a progress bar on standard error.

    Raises:
        InputError: The file was made with another story, chooser or settings, is no trajectories file, or
            cannot be written; or the chooser's endpoint does not respond (episodes written so far are kept).
    """
    if not hasattr(chooser, "choose"):
        raise InputError(
            f"expected a chooser, such as PolicyChooser(policy), found {chooser!r:.60}", field="chooser"
        )
    require_goals(objectives)
    out = Path(out)
    if episodes < 1:
        raise InputError(f"expected at least one episode, found {episodes}", field="episodes")
    header = trajectories_header(
        make_game(), chooser.name, chooser.settings, seed=seed, objectives=objectives, max_steps=max_steps
    )
    if model := dict[str, Any](getattr(chooser, "identity", {})):
        header["model"] = model
    present: list[Trajectory] = []
    if continues(out, KIND, header):
        present = read_trajectories(out, drop_cut_off_line=True)
    ids = {trajectory.id for trajectory in present}
    missing = [e for e in range(episodes) if f"{chooser.name}-{seed}-{e}" not in ids]

    def played_by(indexes: Sequence[int]) -> Iterator[Trajectory]:
        return play(
            make_game, chooser, episodes=indexes, seed=seed, objectives=objectives, max_steps=max_steps,
            batch=batch,
        )  # fmt: skip

    if isinstance(chooser, RoundChooser):
        played = _in_rounds(chooser, present, missing, played_by)
    else:
        played = played_by(missing)
    done = episodes - len(missing)
    bar = ProgressBar(episodes, f"episodes of {chooser.name}", unit="episode", done=done, shown=progress)
    with RecordWriter(out, KIND, header) as writer, bar:
        try:
            for trajectory in played:
                writer.write(trajectory)
                done += 1
                bar.advance()
        except InputError as error:
            raise InputError(
                f"{error}; {done} of {episodes} episodes are in {out}: the same command continues from there"
            ) from error
    return _report(read_trajectories(out), len(missing))


def _in_rounds(
    chooser: RoundChooser, present: Sequence[Trajectory], missing: Sequence[int],
    played_by: Callable[[Sequence[int]], Iterator[Trajectory]],
) -> Iterator[Trajectory]:  # fmt: skip
    """Episodes round by round; a chooser has seen all earlier rounds when one begins.

    A file's episodes are in order, so what is missing follows what is there. At the end a chooser has seen
    all of them, whether the last round is whole or not.
    """
    size = chooser.round_size
    done = len(present)
    whole = done - done % size
    chooser.start_round(present[:whole])
    seen = list(present[whole:])
    while missing:
        own = [episode for episode in missing if episode // size == missing[0] // size]
        missing = missing[len(own) :]
        for trajectory in played_by(own):
            seen.append(trajectory)
            yield trajectory
        chooser.start_round(seen)
        seen = []
    if seen:
        chooser.start_round(seen)


def read_max_points(files: Sequence[str | Path]) -> dict[str, float]:
    """The attainable points of games in the headers of trajectories files.

    Raises:
        InputError: Points are not numbers, or files disagree about a game.
    """
    known: dict[str, float] = {}
    for file in files:
        for game, points in (
            Fields(read_header(file, "trajectories"), Path(file), 1).numbers("max_points").items()
        ):
            if known.setdefault(game, points) != points:
                raise InputError(
                    f"'{game}' has {known[game]:g} points in another file, {points:g} here", path=file
                )
    return known


def attainable_points(
    games: Sequence[str], files: Sequence[str | Path], given: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The attainable points of every game that was played.

    Args:
        games: Names of the games.
        files: Trajectories files, whose headers may have the points.
        given: Points of games whose files do not have them.

    Raises:
        InputError: The points of a game are not known; or see `read_max_points`.
    """
    known = {**read_max_points(files), **(given or {})}
    if missing := [game for game in games if game not in known]:
        raise InputError(
            f"no file has the attainable points of '{missing[0]}'; give --max-points {missing[0]}=POINTS",
            field="max_points",
        )
    return {game: known[game] for game in games}


def trajectories_header(
    game: Game, policy: str, settings: Mapping[str, Any], *, seed: int, objectives: Sequence[Objective],
    max_steps: int,
) -> dict[str, Any]:  # fmt: skip
    """Header of a trajectories file; a file with another header is not continued.

    Args:
        game: Game that is played; it is reset.
        policy: Name of the player.
        settings: All settings that its choices depend on, as JSON values.
        seed: Random seed of the episodes.
        objectives: Objectives whose rewards are recorded.
        max_steps: Number of steps after which an episode is cut off.
    """
    game.reset(0)
    first, info = game.decision, game.info
    further = {"labels": info.labels} if info.labels else {}
    further |= {"counts": LAGGED} if info.lagged else {}
    return {
        "story": info.name,
        "first_decision": first.key if first else None,
        "max_points": {info.name: info.max_points},
        **further,
        "policy": policy,
        "settings": dict(settings),
        "seed": seed,
        "max_steps": max_steps,
        "objectives": [o.to_json() for o in objectives],
        # A changed story may have the same first page. Last, since other differences say more.
        "play": play_digest(game),
    }


def _report(trajectories: Iterable[Trajectory], new: int) -> CollectionReport:
    trajectories = list(trajectories)
    steps = [step for t in trajectories for step in t.steps]
    malformed = sum(len(step.info.get("malformed", ())) for step in steps)
    random_actions = sum(bool(step.info.get("random")) for step in steps)
    totals: dict[str, float] = {}
    for trajectory in trajectories:
        for name, value in trajectory.returns().items():
            totals[name] = totals.get(name, 0.0) + value
    return CollectionReport(
        episodes=len(trajectories),
        new_episodes=new,
        steps=len(steps),
        terminated=sum(t.terminated for t in trajectories),
        truncated=sum(t.truncated for t in trajectories),
        malformed_replies=malformed,
        # Each malformed reply except the last before a random action was followed by another question.
        re_asks=malformed - random_actions,
        random_actions=random_actions,
        mean_returns={name: total / len(trajectories) for name, total in totals.items()},
    )
