"""Progress critics on recorded play: do their values follow the passages' order, or what they are worth?

A place late in a story is not worth much by itself, so a high value-order correlation (VOC; Ma et al. 2025,
arXiv 2411.04549) does not make a critic good: it is reported beside the correlation with the return that is
to be expected of the play, which is what a search needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.annotate.progress import Example, ProgressCritic
from pluralign.core import InputError, Objective, Policy, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked, require_at_least
from pluralign.core.digests import digest
from pluralign.core.files import write_json
from pluralign.core.jsonl import read_rows
from pluralign.core.records import read_trajectories
from pluralign.core.resumable import run_batches
from pluralign.core.splits import seed_for
from pluralign.evaluate.rank_correlation import spearman
from pluralign.evaluate.statistics import Estimate, estimate
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_values
from pluralign.games.open import open_story
from pluralign.games.state_graph import StateGraph, explore
from pluralign.options.open import Models, open_policy

FILE, REPORT = "progress.jsonl", "report.json"
_FEWEST = 3
"""Smallest number of passages whose ranks are compared."""
_RESAMPLES = 100
"""Intervals are over episodes; those of one episode's correlation are not used."""


@dataclass(frozen=True)
class ProgressReport:
    """Agreement of judged progress with order and worth.

    Args:
        critic: Name of the critic.
        objective: Name of the objective.
        episodes: Number of judged episodes.
        order: Mean over episodes of Spearman's correlation of the values and the passages' order (VOC), with
            a 95 % interval; constant values count 0. None without two judged episodes.
        worth: The same with the expected return of the play at each passage, what was gained so far plus the
            exact value of the state; None where it is not known.
        order_and_worth: The same of order and expected returns: what a critic gets that says the order.
        silent: Number of episodes without values.
        counts: Sums of what the critic counts, such as ``same_place`` of ``pairs``.
    """

    critic: str
    objective: str
    episodes: int
    order: Estimate | None
    worth: Estimate | None
    order_and_worth: Estimate | None
    silent: int
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @property
    def notes(self) -> list[str]:
        """Remarks on what the figures are worth, one sentence each."""
        found: list[str] = []
        pairs, same = (self.counts.get(name, 0) for name in ("pairs", "same_place"))
        if pairs:
            found.append(f"The same place was named in both orders for {same} of {pairs} pairs.")
        if self.silent:
            found.append(f"No usable reply for {self.silent} of {self.episodes} episodes.")
        if self.order is not None and self.order.mean == self.order.low == self.order.high == 0:
            found.append("The critic's values do not differ: it says nothing.")
        return found


@checked
def evaluate_progress(
    trajectories: Sequence[Trajectory], critic: ProgressCritic, objective: Objective, folder: str | Path, *,
    graph: StateGraph | None = None, policy: Policy | None = None, passages: int = 6, examples: int = 0,
    seed: int = 0,
) -> ProgressReport:  # fmt: skip
    """Judge the progress of recorded play, and compare it with order and exact values.

    Args:
        trajectories: Episodes of one story.
        critic: Critic (`annotate.progress`).
        objective: Objective.
        folder: Folder for progress.jsonl, from which an interrupted run continues, and report.json.
        graph: All states of the story, for exact values; None for none.
        policy: Policy whose exact values are compared; needed with a graph.
        passages: Largest number of passages of an episode, three or more, evenly spaced.
        examples: Number of episodes whose passages are shown as examples with the observed share of their
            return, and which are not judged.
        seed: Random seed of the shuffling.

    Raises:
        InputError: There are too few episodes, an episode is not of the graph's story, or a reward of the
            objective is missing.
    """
    # Two ranks correlate by 1 or -1.
    require_at_least(_FEWEST, passages=passages)
    require_at_least(0, examples=examples)
    if (graph is None) != (policy is None):
        raise InputError("exact values need a graph and a policy", field="policy")
    known = [one for one in trajectories if len(one.steps) >= _FEWEST]
    if len(known) < examples + 1:
        raise InputError(
            f"expected more than {examples} episodes of three steps or more, found {len(known)}",
            field="trajectories",
        )
    shown = _examples(known[:examples], objective, passages)
    judged = known[examples:]
    exact = None
    if graph is not None and policy is not None:
        values = exact_values(graph, policy, [objective])[:, 0]
        exact = [_expected(one, objective) + values[_states(graph, one)] for one in judged]

    def work(batch: Sequence[Trajectory]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for one in batch:
            places = _places(one, passages)
            texts = [one.steps[place].decision.prompt for place in places]
            own = critic.progress(texts, objective, examples=shown, seed=seed_for(one.id, seed))
            values = [None if math.isnan(value) else value for value in own.values.tolist()]
            rows.append({"id": one.id, "places": places, "values": values, "info": dict(own.info)})
        return rows

    path = Path(folder) / FILE
    made_of = {
        "critic": critic.name, **critic.settings, "identity": dict(getattr(critic, "identity", {})),
        "objective": [objective.name, objective.description],
        "passages": passages, "examples": examples, "seed": seed,
        "episodes": digest([f"{one.id} {one.steps}".encode() for one in known]),
    }  # fmt: skip
    if not _is_of(path, made_of):
        run_batches(path, made_of, judged, work, batch=1, header={"run": made_of}, unit="episode")
    rows = [fields.row for fields in read_rows(path)][1:]
    report = _report(critic.name, objective.name, rows, exact)
    write_json(Path(folder) / REPORT, {"settings": made_of, **report.to_json()})
    return report


def read_play(file: str | Path, episodes: int | None = None) -> list[Trajectory]:
    """Episodes of one story from a file of trajectories.

    Args:
        file: Trajectories (`pluralign collect`).
        episodes: Largest number of episodes, the first ones; None for all.

    Raises:
        InputError: The file cannot be read, or its episodes are of no story or of several.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.core.records import write_records
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score"])
        >>> played = pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=3, seed=0, objectives=goals)
        >>> write_records("play.jsonl", "trajectories", played)
        >>> [one.source for one in pl.evaluate.read_play("play.jsonl", 2)]
        ['salt_ledger', 'salt_ledger']
    """
    played = list(read_trajectories(file))[:episodes]
    sources = sorted({one.source for one in played})
    if len(sources) != 1:
        raise InputError(f"expected episodes of one story, found {', '.join(sources) or 'none'}", path=file)
    return played


def evaluate_play_progress(
    played: Sequence[Trajectory], critic: ProgressCritic, objective: str, folder: str | Path, *,
    policy: str = "random", models: Models | None = None, passages: int = 6, examples: int = 0, seed: int = 0,
) -> ProgressReport:  # fmt: skip
    """The same on episodes of one story; on built-in ones with exact values of a policy.

    Args:
        played: Episodes of one story (`read_play`).
        critic: Critic (`annotate.open.open_critic`).
        objective: Name of the story's objective.
        folder: See `evaluate_progress`.
        policy: Policy whose exact values are compared: random, or a trained policy's folder.
        models: Language model and features of a trained policy.
        passages: See `evaluate_progress`.
        examples: See `evaluate_progress`.
        seed: See `evaluate_progress`.

    Raises:
        InputError: The story or the policy cannot be opened, or it has no such objective; or see
            `evaluate_progress`.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=4, seed=0, objectives=goals))
        >>> critic = pl.evaluate.open_critic("tiny-random")
        >>> found = pl.evaluate.evaluate_play_progress(played, critic, "score", "progress", passages=3)
        >>> found.episodes
        4
    """
    story, built_in = open_story(played[0].source), played[0].source in list_stories()
    (wanted,) = story.info.select((objective,))
    return evaluate_progress(
        played, critic, wanted, folder, graph=explore(story.make_game()) if built_in else None,
        policy=open_policy(policy, models or Models()) if built_in else None,
        passages=passages, examples=examples, seed=seed,
    )  # fmt: skip


def _is_of(path: Path, run: Mapping[str, Any]) -> bool:
    """Whether the file is complete and belongs to this run."""
    return path.is_file() and next(iter(read_rows(path))).row == {"run": run}


def _report(
    critic: str, objective: str, rows: Sequence[Mapping[str, Any]], exact: Sequence[FloatArray] | None
) -> ProgressReport:
    order: list[float] = []
    worth: list[float] = []
    both: list[float] = []
    counts: dict[str, int] = {}
    for number, row in enumerate(rows):
        for name, count in row["info"].items():
            counts[name] = counts.get(name, 0) + count
        places = np.array(row["places"], dtype=np.float64)
        own = None if exact is None else exact[number][row["places"]]
        if own is not None:
            both.append(spearman(places, own, resamples=_RESAMPLES).value)
        if any(value is None for value in row["values"]):
            continue
        order.append(spearman(row["values"], places, resamples=_RESAMPLES).value)
        if own is not None:
            worth.append(spearman(row["values"], own, resamples=_RESAMPLES).value)
    silent = sum(value is None for row in rows for value in row["values"][:1])
    return ProgressReport(
        critic, objective, len(rows), _mean(order), _mean(worth), _mean(both), silent, counts
    )


def _mean(values: Sequence[float]) -> Estimate | None:
    return estimate(values).within(-1.0, 1.0) if len(values) > 1 else None


def _places(trajectory: Trajectory, passages: int) -> list[int]:
    """Steps whose decisions are the passages: evenly spaced, with the first and the last one."""
    last = len(trajectory.steps) - 1
    return sorted({round(place) for place in np.linspace(0, last, min(passages, last + 1)).tolist()})


def _examples(trajectories: Sequence[Trajectory], objective: Objective, passages: int) -> list[Example]:
    """Passages with the share of the episode's return that was gained before them; of a return of 0, the
    share of its steps."""
    found: list[Example] = []
    for one in trajectories:
        rewards = [_reward(one, place, objective) for place in range(len(one.steps))]
        total = math.fsum(rewards)
        for place in _places(one, passages):
            gained = math.fsum(rewards[:place]) / total if total else place / len(one.steps)
            found.append((one.steps[place].decision.prompt, min(1.0, max(0.0, gained))))
    return found


def _reward(trajectory: Trajectory, place: int, objective: Objective) -> float:
    rewards = trajectory.steps[place].rewards
    if objective.name not in rewards:
        raise InputError(f"trajectory '{trajectory.id}' has no rewards for objective '{objective.name}'")
    return rewards[objective.name]


def _expected(trajectory: Trajectory, objective: Objective) -> FloatArray:
    """Return that was gained before each step, shape (steps,)."""
    rewards = [_reward(trajectory, place, objective) for place in range(len(trajectory.steps))]
    return np.cumsum([0.0, *rewards[:-1]])


def _states(graph: StateGraph, trajectory: Trajectory) -> list[int]:
    """State before each step, by playing the recorded actions."""
    state, found = graph.start, list[int]()
    for number, step in enumerate(trajectory.steps):
        known = graph.decision_of[state]
        if known < 0 or graph.decisions[known] != step.decision:
            raise InputError(
                f"trajectory '{trajectory.id}' leaves the story at step {number + 1}", field="trajectories"
            )
        found.append(state)
        state = int(graph.target[graph.first[state] + step.action])
    return found
