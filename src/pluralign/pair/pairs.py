"""Preference pairs from annotations, in splits that share no trajectory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pluralign.core import Annotation, Comparison, Examples, InputError, PreferencePair
from pluralign.core.checks import checked
from pluralign.core.preference import Sides
from pluralign.core.records import read_annotations, write_records
from pluralign.core.splits import SHARES, SPLITS, Split, check_shares, split_of

KIND = "pairs"
Ties = Literal["drop", "soft"]


@dataclass
class _Votes:
    """Preferences of raters on one comparison, in the order in which it was first listed."""

    comparison: Comparison
    by_rater: dict[str, set[str]]

    def share_for_first(self) -> tuple[float, bool]:
        """Share of raters for the first segment, ties counting half; and whether they disagree.
        A rater with contradictory answers counts as a tie."""
        worth = {"first": 1.0, "second": 0.0, "tie": 0.5}
        votes = [worth[next(iter(v))] if len(v) == 1 else 0.5 for v in self.by_rater.values()]
        answers = set[str]().union(*self.by_rater.values())
        return sum(votes) / len(votes), len(answers) > 1


@checked
def make_pairs(
    annotations: Sequence[Annotation],
    *,
    ties: Ties = "drop",
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    splits_of: Sequence[PreferencePair] = (),
) -> Examples[PreferencePair]:
    """Turn annotations for one objective into preference pairs.

    Each comparison (two segments, in either order) gives at most one pair. (Segments of other content are
    others, even if the ids are the same, as in files of two stories.) If several raters rated it, each
    has one vote; a tie is half a vote for either segment, and a rater with contradictory answers counts as a
    tie. The majority's choice is ``chosen``, and its share is the pair's weight. A comparison with equal
    votes is a tie: it is dropped, or kept with weight 0.5 and the first segment as ``chosen``.

    Splits are those of the trajectories (`split_of`), so no trajectory appears in two; a comparison across
    two splits is dropped. Completions of texts are no trajectories: give the pairs that were loaded, whose
    splits keep prompts together, as ``splits_of``.

    ``counts``: ``annotations``; ``duplicates`` (repeated answers of one rater, or answers of other raters, to
    the same comparison); ``contested`` (comparisons with different answers); ``ties`` (undecided comparisons,
    including contested ones); ``identical`` (both sides have the same decisions and actions, dropped);
    ``across_splits`` (dropped); ``pairs``, and the pairs of each split as ``pairs_train`` and so on.

    Args:
        annotations: Annotations for one objective, by one or several raters.
        ties: Rule for ties: ``drop`` them, or keep them with weight 0.5 (``soft``).
        shares: Shares of train, validation and test.
        seed: Random seed of the splits.
        splits_of: Pairs of the same segments, whatever was preferred, whose splits the new ones keep.

    Raises:
        InputError: There is more than one objective, or the shares are invalid.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=[score]))
        >>> compared = pl.make_comparisons(played, count=50, seed=0)
        >>> rated = zip(compared, pl.Oracle(played).rate(compared, score))
        >>> said = [pl.Annotation(pair, "score", "oracle", rating.preference) for pair, rating in rated]
        >>> pairs = pl.make_pairs(said, ties="soft")
        >>> len(pairs) == pairs.counts["pairs"]
        True
    """
    check_shares(shares)
    for number, annotation in enumerate(annotations, start=1):
        if not isinstance(annotation, Annotation):
            raise InputError(f"expected an Annotation, found {annotation!r:.60}", row=number)
    objectives = sorted({a.objective for a in annotations})
    if len(objectives) > 1:
        raise InputError(f"expected one objective, found {', '.join(objectives)}", field="objective")
    if ties not in ("drop", "soft"):
        raise InputError(f"expected drop or soft, found {ties!r}", field="ties")
    counts: Counter[str] = Counter(annotations=len(annotations))
    for name in ("duplicates", "contested", "ties", "identical", "across_splits"):
        counts[name] = 0
    pairs: list[PreferencePair] = []
    splits = _known_splits(splits_of, shares, seed)
    for votes in _collect_votes(annotations, counts):
        pair = _pair(votes, objectives[0], ties, splits, counts)
        if pair is not None:
            pairs.append(pair)
    counts["pairs"] = len(pairs)
    for split in SPLITS:
        counts[f"pairs_{split}"] = sum(p.split == split for p in pairs)
    return Examples(tuple(pairs), dict(counts))


@checked
def pair(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    objective: str,
    ties: Ties = "drop",
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> Examples[PreferencePair]:
    """Merge files of annotations and write ``pairs.jsonl``, completely or not at all.

    Args:
        paths: Files written by `annotate`; annotations for other objectives are skipped and counted as
            ``other_objectives``.
        out: File of pairs to write; an existing one is replaced.
        objective: Name of the objective to pair.
        ties, shares, seed: See `make_pairs`.

    Raises:
        InputError: A file cannot be read or written, no file has annotations for the objective, or two files
            have one person's name and different answers.
    """
    if not paths:
        raise InputError("expected at least one file of annotations, found none")
    files = [read_annotations(path) for path in paths]
    read = [a for annotations in files for a in annotations]
    wanted = [a for a in read if a.objective == objective]
    if not wanted:
        found = ", ".join(sorted({a.objective for a in read})) or "no annotations at all"
        raise InputError(f"no annotations for objective '{objective}'; found {found}", path=paths[0])
    _require_other_people(paths, files, objective)
    result = make_pairs(wanted, ties=ties, shares=shares, seed=seed)
    counts = {**result.counts, "other_objectives": len(read) - len(wanted)}
    header: dict[str, Any] = {
        "objective": objective,
        "ties": ties,
        "shares": list(shares),
        "seed": seed,
        "sources": [str(path) for path in paths],
        "counts": counts,
    }
    write_records(out, KIND, result.rows, header)
    return Examples(result.rows, counts)


def pairs_summary(pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    """Summary of a set of pairs, as plain values for ``--json``.

    Returns:
        ``pairs``, ``soft`` (weight 0.5), ``mean_weight``, ``mean_steps`` (of a segment), ``raters`` (pairs
        per rater), and ``splits``: ``pairs`` and ``trajectories`` of each split.
    """
    segments = [s for p in pairs for s in (p.chosen, p.rejected)]
    splits = {
        split: {
            "pairs": sum(p.split == split for p in pairs),
            "trajectories": len(
                {s.trajectory_id for p in pairs if p.split == split for s in (p.chosen, p.rejected)}
            ),
        }
        for split in SPLITS
    }
    return {
        "pairs": len(pairs),
        "soft": sum(p.weight == 0.5 for p in pairs),
        "mean_weight": sum(p.weight for p in pairs) / len(pairs) if pairs else 0.0,
        "mean_steps": sum(len(s.steps) for s in segments) / len(segments) if segments else 0.0,
        "raters": dict(sorted(Counter(p.rater for p in pairs).items())),
        "splits": splits,
    }


def _require_other_people(
    paths: Sequence[str | Path], files: Sequence[Sequence[Annotation]], objective: str
) -> None:
    """Refuse two people's sheets of one file name: they would be one rater, whose answers contradict."""
    said: dict[str, list[tuple[str | Path, dict[Sides, str]]]] = {}
    for path, said_there in zip(paths, files, strict=True):
        answers: dict[str, dict[Sides, str]] = {}
        for one in said_there:
            if one.objective == objective and one.rater.startswith("human:"):
                answers.setdefault(one.rater, {})[one.comparison.sides] = _better(one)
        for rater, own in answers.items():
            for earlier, others in said.get(rater, []):
                both = own.keys() & others.keys()
                # A sheet that was filled in further has all earlier answers.
                differ = any(own[key] != others[key] for key in both)
                if differ or (both and not (both == own.keys() or both == others.keys())):
                    raise InputError(
                        f"answers of {rater} that are not those of {earlier}; sheets of two people are "
                        "imported with --rater human:NAME=SHEET",
                        path=path, field="rater",
                    )  # fmt: skip
            said.setdefault(rater, []).append((path, own))


def _better(annotation: Annotation) -> str:
    """Id of the segment that is preferred; empty for a tie."""
    comparison = annotation.comparison
    if annotation.preference == "tie":
        return ""
    return (comparison.first if annotation.preference == "first" else comparison.second).id


def _collect_votes(annotations: Sequence[Annotation], counts: Counter[str]) -> list[_Votes]:
    found: dict[Sides, _Votes] = {}
    exchanged = {"first": "second", "second": "first", "tie": "tie"}
    for annotation in annotations:
        comparison = annotation.comparison
        key = comparison.sides
        if key in found:
            counts["duplicates"] += 1
        votes = found.setdefault(key, _Votes(comparison, {}))
        same_order = comparison.first.id == votes.comparison.first.id
        preference = annotation.preference if same_order else exchanged[annotation.preference]
        votes.by_rater.setdefault(annotation.rater, set()).add(preference)
    return list(found.values())


def _known_splits(
    pairs: Sequence[PreferencePair], shares: Sequence[float], seed: int
) -> Callable[[Comparison], set[Split]]:
    """Function from a comparison to the splits of its segments: that of the pair, if there is one."""
    known: dict[Sides, Split] = {Comparison(one.chosen, one.rejected).sides: one.split for one in pairs}

    def found(comparison: Comparison) -> set[Split]:
        if comparison.sides in known:
            return {known[comparison.sides]}
        segments = (comparison.first, comparison.second)
        return {split_of(segment.trajectory_id, seed=seed, shares=shares) for segment in segments}

    return found


def _pair(
    votes: _Votes,
    objective: str,
    ties: Ties,
    splits_of: Callable[[Comparison], set[Split]],
    counts: Counter[str],
) -> PreferencePair | None:
    first, second = votes.comparison.first, votes.comparison.second
    if first.content == second.content:
        counts["identical"] += 1
        return None
    share, differ = votes.share_for_first()
    counts["contested"] += differ
    # Votes are multiples of one half, so equal votes are exactly 0.5.
    undecided = share == 0.5
    counts["ties"] += undecided
    if undecided and ties == "drop":
        return None
    splits = splits_of(votes.comparison)
    if len(splits) > 1:
        counts["across_splits"] += 1
        return None
    chosen, rejected = (first, second) if share >= 0.5 else (second, first)
    return PreferencePair(
        chosen,
        rejected,
        objective,
        rater="+".join(votes.by_rater),
        weight=max(share, 1 - share),
        split=splits.pop(),
    )
