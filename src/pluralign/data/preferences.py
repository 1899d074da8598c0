"""Preference data of other people's making, with TRL's columns: in and out."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any, Generic, TypeVar

from pluralign.core import Decision, InputError, PairingResult, PreferencePair, Segment, Step
from pluralign.core.messages import Render, dialogue
from pluralign.core.splits import SHARES, SPLITS, Split, check_shares, seed_for, split_of
from pluralign.data.rows import Completions, FieldError, read_completions

T = TypeVar("T")
_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


def load_preference_pairs(
    source: str | Path,
    objective: str,
    split: Split | None = None,
    *,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    rater: str = "",
    render: Render = dialogue,
    two_prompts: bool = False,
) -> PairingResult:
    """Read preference data into one-step pairs: a decision whose two options are the completions,
    in an order drawn from the seed and the texts, so that position carries no label.

    Rows that cannot be used are left out and counted: ``prompts_differ``, ``empty`` (a completion
    without text), ``identical`` (both completions the same). ``counts`` also holds ``rows``, ``pairs``
    and the pairs of each split. See `read_completions` for the columns.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet; .gz too), a folder, or a hub id.
        objective: what the preferences are about.
        split: of a folder or a hub id, read this split alone; a file is taken to be that split. None
            reads all, and where the source has one split only, assigns each prompt to
            a split by its hash (`split_of`), so that no prompt appears in two.
        seed: of the options' order and of the splits.
        shares: of train, validation and test, where prompts are assigned.
        rater: goes into the pairs; empty for the source's name.
        render: makes text of messages; HH-RLHF's plain form by default.
        two_prompts: keep pairs whose completions answer different prompts, which reward models can learn
            from: ``prompts_differ`` then counts those among the pairs.

    Raises:
        InputError: no such source or split, a broken line, a missing column, a field of another type
            (with file, row counted from 1, and field), or no usable row.
    """
    check_shares(shares)
    name = Path(str(source).rstrip("/")).name if Path(source).exists() else str(source)
    counts: Counter[str] = Counter(rows=0, prompts_differ=0, empty=0, identical=0)
    pairs: list[PreferencePair] = []
    for row in read_each(
        source, split, lambda given: read_completions(given, render, two_prompts=two_prompts)
    ):
        counts["rows"] += 1
        found = row.found
        if not isinstance(found, Completions):
            counts[found] += 1
            continue
        counts["prompts_differ"] += found.rejected_prompt is not None
        where = _assign(found, seed, shares) if row.unassigned else row.part
        label = f"{name}-{row.number}" if row.alone else f"{name}-{row.part}-{row.number}"
        pairs.append(one_step_pair(found, label, objective, rater or name, where, seed))
    if not pairs:
        raise InputError(f"holds no usable preference pair: {dict(counts)}", path=source)
    counts["pairs"] = len(pairs)
    for one in SPLITS:
        counts[f"pairs_{one}"] = sum(p.split == one for p in pairs)
    return PairingResult(tuple(pairs), dict(counts))


@dataclass(frozen=True)
class ReadRow(Generic[T]):
    """A row of a data set, and where it stands.

    Args:
        found: what was read from it.
        part: the split that the source says.
        number: from 1, in its part.
        alone: the source has this part alone.
        unassigned: the source says nothing about splits.
    """

    found: T
    part: Split
    number: int
    alone: bool
    unassigned: bool


def read_each(
    source: str | Path, split: Split | None, read: Callable[[Mapping[str, Any]], T]
) -> Iterator[ReadRow[T]]:
    """Read a data set row by row.

    Args:
        source: see `load_preference_pairs`.
        split: see there.
        read: makes something of a row, or raises FieldError.

    Raises:
        InputError: no such source, or a row that cannot be read (with file, row and field).
    """
    parts = read_dataset(source, split)
    alone = len(parts) == 1
    for part, rows in parts.items():
        for number, row in enumerate(rows, start=1):
            try:
                found = read(row)
            except FieldError as error:
                raise InputError(str(error), path=source, row=number, field=error.field) from error
            yield ReadRow(found, part, number, alone, split is None and alone)


def to_trl_rows(pairs: Iterable[PreferencePair]) -> list[dict[str, str]]:
    """One-step pairs as TRL's rows: ``prompt``, ``chosen``, ``rejected``.

    Raises:
        InputError: a pair has several steps or two prompts: not a TRL row.
    """
    rows: list[dict[str, str]] = []
    for number, pair in enumerate(pairs, start=1):
        steps = [pair.chosen.steps, pair.rejected.steps]
        if any(len(s) != 1 for s in steps) or steps[0][0].decision.prompt != steps[1][0].decision.prompt:
            raise InputError(
                "only pairs of one step from one prompt are TRL rows; "
                f"this one has {len(steps[0])} and {len(steps[1])} steps",
                row=number,
            )
        chosen, rejected = (s[0].decision.options[s[0].action] for s in steps)
        rows.append({"prompt": steps[0][0].decision.prompt, "chosen": chosen, "rejected": rejected})
    return rows


def read_dataset(
    source: str | Path, split: Split | None = None
) -> Mapping[Split, Iterable[Mapping[str, Any]]]:
    """The rows of a file, a folder or a hub id, by split, through `datasets`.

    Raises:
        InputError: see `load_preference_pairs`.
    """
    path = Path(source)
    if path.is_file():
        suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
        builder = _BUILDERS.get(suffixes[-1] if suffixes else "")
        if builder is None:
            kinds = ", ".join(_BUILDERS)
            raise InputError(f"expected one of {kinds} (or these with .gz)", path=path)
        named: Split = split or "train"
        return {named: _load(source, builder, data_files={"train": [str(path)]})["train"]}
    looks_local = str(source).startswith((".", "/", "~")) or path.suffix.lower() in (*_BUILDERS, ".gz")
    if looks_local and not path.exists():
        raise InputError("no such file or folder", path=source)
    loaded = _load(source, str(path) if path.is_dir() else str(source))
    known: dict[Split, Any] = {name: loaded[name] for name in SPLITS if name in loaded}
    wanted: dict[Split, Any] = known if split is None else {split: known[split]} if split in known else {}
    if not wanted:
        raise InputError(
            f"has no split {split or 'train, validation or test'}; it has {', '.join(loaded)}", path=source
        )
    return wanted


def _load(source: str | Path, builder: str, **arguments: Any) -> Mapping[Any, Any]:
    import datasets

    if builder == "csv":
        # Else a completion that reads "None" or "N/A" would be taken for a missing one.
        arguments["keep_default_na"] = False
    logging: Any = datasets.logging
    hub = getLogger("huggingface_hub")
    hidden, verbosity, hub_level = datasets.are_progress_bars_disabled(), logging.get_verbosity(), hub.level
    datasets.disable_progress_bars()
    # Errors come back as one line from here; the libraries would print them as well.
    logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    try:
        if Path(builder).is_dir() and (Path(builder) / "dataset_dict.json").exists():
            return dict(datasets.load_from_disk(builder).items())  # pyright: ignore
        return dict(datasets.load_dataset(builder, **arguments).items())  # pyright: ignore
    except Exception as error:
        for found in _explain(source):
            raise found from error
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        if not Path(source).exists():
            reason = f"no such file or folder, and not to be had from the hub: {reason}"
        raise InputError(f"cannot be read: {reason}", path=source) from error
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)
        if not hidden:
            datasets.enable_progress_bars()


def _explain(source: str | Path) -> Iterator[InputError]:
    """Which line of a JSON-lines file `datasets` stumbled over: it does not say itself."""
    path = Path(source)
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file() or not name.endswith((".jsonl", ".json")):
        return
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as handle:
            if name.endswith(".json") and handle.read(64).lstrip().startswith(b"["):
                return
            handle.seek(0)
            lines = handle.read().split(b"\n")
    except (OSError, EOFError) as error:
        yield InputError(f"cannot be read: {error}", path=path)
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield InputError(f"not JSON ({error})", path=path, row=number)
            continue
        if not isinstance(row, dict):
            yield InputError(f"expected a JSON object, found {type(row).__name__}", path=path, row=number)


def _assign(found: Completions, seed: int, shares: Sequence[float]) -> Split:
    # Texts that share no beginning have no prompt to go by.
    name = found.prompt or "\0".join(sorted((found.chosen, found.rejected)))
    return split_of(name, seed=seed, shares=shares)


def one_step_pair(
    found: Completions, label: str, objective: str, rater: str, split: Split, seed: int
) -> PreferencePair:
    """Two completions as segments of one step, in an order drawn from the seed and the texts.

    Args:
        found: prompt and completions.
        label: the beginning of the segments' ids.
        objective: what the pair is about.
        rater: who says so.
        split: of the pair.
        seed: of the options' order.
    """
    a, b = sorted((found.chosen, found.rejected))
    if seed_for(f"{found.prompt}\0{a}\0{b}", seed) % 2:
        a, b = b, a
    chosen = 0 if a == found.chosen else 1
    if found.rejected_prompt is None:
        decision = Decision(found.prompt, (a, b))
        segments = [Segment(f"{label}-{i}", 0, (Step(decision, i),)) for i in (0, 1)]
    else:
        prompts = (
            (found.prompt, found.rejected_prompt) if chosen == 0 else (found.rejected_prompt, found.prompt)
        )
        decisions = [Decision(prompt, (text,)) for prompt, text in zip(prompts, (a, b), strict=True)]
        segments = [Segment(f"{label}-{i}", 0, (Step(d, 0),)) for i, d in enumerate(decisions)]
    return PreferencePair(
        segments[chosen], segments[1 - chosen],
        objective=objective, rater=rater, split=split, margin=found.margin,
    )  # fmt: skip
