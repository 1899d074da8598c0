"""Files of pairs that ``pair`` wrote, as loaders read them."""

from __future__ import annotations

from pathlib import Path

from pluralign.core import Demonstration, Examples, InputError, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.jsonl import read_rows
from pluralign.core.messages import Template
from pluralign.core.records import read_pairs
from pluralign.core.splits import SPLITS, Split
from pluralign.data.source import Data, Row


def own_header(data: Data) -> Row | None:
    """The header of a file that ``pair`` wrote; None for everything else."""
    if not isinstance(data, str | Path) or not Path(data).is_file() or not str(data).endswith(".jsonl"):
        return None
    try:
        row = next(iter(read_rows(data))).row
    except (InputError, StopIteration):
        return None
    return row if row.get("pluralign") == "pairs" else None


def own_pairs(path: str, objective: str, split: Split | None, header: Row) -> Examples[PreferencePair]:
    """The pairs of such a file, with the splits that it has.

    Args:
        path: The file.
        objective: Name of the objective; an empty one is that of the pairs.
        split: Split to read; None for all.
        header: Header of the file.

    Raises:
        InputError: A pair is of another objective, or none of the split.
    """
    pairs = read_pairs(path)
    if objective and any(pair.objective != objective for pair in pairs):
        raise InputError(f"holds pairs of other objectives than {objective!r}", path=path)
    kept = tuple(pair for pair in pairs if split in (None, pair.split))
    if not kept and split is not None:
        raise InputError(f"holds no pair of the split {split}", path=path)
    counts = {"pairs": len(kept)} | {f"pairs_{one}": sum(p.split == one for p in kept) for one in SPLITS}
    known = header.get("template")
    template = Template(known["name"], known["digest"]) if known else None
    return Examples(kept, counts, template, source_digest(path))


def chosen_completions(pairs: Examples[PreferencePair], path: str) -> Examples[Demonstration]:
    """The chosen completions of a file of pairs.

    Raises:
        InputError: A label may be wrong.
    """
    if any(pair.weight < 1 for pair in pairs):
        raise InputError("labels may be wrong (weights below 1), so the chosen is not known", path=path)
    rows = tuple(
        Demonstration(*p.chosen.text(row=row), p.objective, path, p.split) for row, p in enumerate(pairs, 1)
    )
    counts = {name.replace("pairs", "demonstrations"): count for name, count in pairs.counts.items()}
    counts = {"rows": len(rows), "empty": 0, "unusable": 0, **counts}
    return Examples(rows, counts, pairs.template, pairs.source)
