"""Sources of rows: a file, a folder, a hub id, a data set of `datasets`, or rows in memory."""

from __future__ import annotations

import contextlib
import glob
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import Any, cast

from pluralign.core import InputError
from pluralign.core.digests import files_digest
from pluralign.core.jsonl import is_object
from pluralign.core.splits import SPLITS, Split
from pluralign.data.in_memory import native, unframed
from pluralign.data.json_files import explain, is_json, json_rows, require_once
from pluralign.data.table_files import reading_of_table

_log = getLogger(__name__)
Row = Mapping[str, Any]

Data = str | Path | Mapping[str, Iterable[Row]] | Iterable[Row]
"""A file (.jsonl, .json, .csv, .tsv, .parquet; .gz too), a folder, a hub id, a ``datasets.Dataset`` or
``datasets.DatasetDict``, a ``pandas.DataFrame``, a mapping from splits to rows, or any iterable of rows
(mappings by column)."""

_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_SAVED_SPLITS, _SAVED_ROWS = "dataset_dict.json", "state.json"
"""Files by which a `DatasetDict` and a `Dataset` that were saved to a folder are known."""


@dataclass(frozen=True)
class Table:
    """The rows of a data set, by split.

    Args:
        name: File name or hub id; ``data`` for rows in memory.
        path: Path or hub id for error messages; None for rows in memory.
        parts: Rows of each split.
        assigned: Whether the source or the user assigns each row to a split.
    """

    name: str
    path: str | None
    parts: Mapping[Split, Iterable[Row]]
    assigned: bool

    def rows(self) -> Iterator[tuple[Split, int, Row]]:
        """Every row with its split and its row number in that split, counted from 1.

        Raises:
            InputError: A row is not a mapping from columns to values, or is not UTF-8.
        """
        for part, rows in self.parts.items():
            if not hasattr(rows, "__iter__"):
                raise self.error(f"expected rows of the split {part}, found {rows!r:.60}")
            number = 0
            try:
                for number, row in enumerate(rows, start=1):
                    if not isinstance(row, Mapping):
                        raise self.error(f"expected columns and values, found {row!r:.60}", row=number)
                    yield part, number, {name: native(value) for name, value in row.items()}
            except UnicodeDecodeError as error:
                # Files are decoded while their rows are read.
                raise self.error(f"not UTF-8 ({error})", row=number + 1) from error

    def error(self, message: str, *, row: int | None = None, field: str | None = None) -> InputError:
        """An error about this data, to be raised."""
        return InputError(message, path=self.path, row=row, field=field)


def open_table(data: Data, split: Split | None = None, texts: Sequence[str] = ()) -> Table:
    """Open a data set as a table of rows.

    Args:
        data: See `Data`.
        split: Split to read, of a source with splits; split that the rows belong to, of one without. None
            reads all splits.
        texts: Further columns of tables whose cells are texts whatever they look like: names of people.

    Raises:
        InputError: The source or split does not exist, or a file cannot be read (the error names the line).
    """
    if isinstance(data, str) and not data:
        raise InputError("must not be empty", field="data")
    data = unframed(data)
    if isinstance(data, str | Path):
        name = Path(str(data).rstrip("/")).name if Path(data).exists() else str(data)
        parts = _read(data, split, texts)
        return Table(name, str(data), parts, split is not None or len(parts) > 1)
    if isinstance(data, Mapping):
        parts = _wanted(cast("Mapping[str, Iterable[Row]]", data), split, None)
        return Table("data", None, parts, split is not None or len(parts) > 1)
    if not isinstance(data, Iterable):
        raise InputError(f"expected a path, a hub id or rows, found {data!r:.60}", field="data")
    return Table("data", None, {split or "train": data}, split is not None)


def objective_of(data: Data) -> str:
    """Default name of the objective: that of the file or data set; empty for rows in memory."""
    return Path(str(data).rstrip("/")).name.split(".")[0] if isinstance(data, str | Path) else ""


def _read(source: str | Path, split: Split | None, texts: Sequence[str]) -> Mapping[Split, Iterable[Row]]:
    path = Path(source)
    named: Split = split or "train"
    if path.is_file():
        builder = _builder(path)
        if builder is None:
            kinds = ", ".join(_BUILDERS)
            raise InputError(f"expected one of {kinds} (or these with .gz)", path=path)
        # A name with brackets or an asterisk would be a pattern, which other files may match.
        files = {"train": [glob.escape(str(path.absolute()))]}
        more = reading_of_table(path, texts) if builder == "csv" else {}
        require_once(path)
        return {named: _load(source, builder, data_files=files, **more)["train"]}
    looks_local = str(source).startswith((".", "/", "~")) or path.suffix.lower() in (*_BUILDERS, ".gz")
    if looks_local and not path.exists():
        raise InputError("no such file or folder", path=source)
    if not path.is_dir():
        return _wanted(_load(source, str(source)), split, source)
    if (path / _SAVED_ROWS).exists():
        return {named: _load(source, str(path))["train"]}
    require_once(path)
    if not _is_saved(path) and glob.has_magic(str(path.resolve())):
        # `datasets` would take it for a pattern, which other folders may match.
        raise InputError("a folder of data cannot have *, ? or [ in its path; name its files", path=path)
    return _wanted(_load(source, str(path), **_reading_of_folder(path, texts)), split, source)


def _is_saved(path: Path) -> bool:
    """Whether `datasets` saved this folder."""
    return path.is_dir() and any((path / name).exists() for name in (_SAVED_SPLITS, _SAVED_ROWS))


def _builder(path: Path) -> str | None:
    """Name with which `datasets` reads a file; None for other kinds of files."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    return _BUILDERS.get(suffixes[-1] if suffixes else "")


def _reading_of_folder(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Arguments with which pandas reads the tables of a folder, as those of a single file; none where there
    are other data.

    Raises:
        InputError: A table is separated otherwise than the first one.
    """
    inner = [file for file in sorted(folder.rglob("*")) if file.is_file() and _builder(file)]
    if {_builder(file) for file in inner} != {"csv"}:
        return {}
    readings = [reading_of_table(file, texts) for file in inner]
    for file, own in zip(inner, readings, strict=True):
        if own.get("sep") != readings[0].get("sep"):
            raise InputError(f"is separated otherwise than {inner[0].name} in the same folder", path=file)
    converters = {name: one for own in readings for name, one in own["converters"].items()}
    return {**readings[0], "converters": converters}


def _wanted(
    loaded: Mapping[str, Iterable[Row]], split: Split | None, source: str | Path | None
) -> Mapping[Split, Iterable[Row]]:
    known: dict[Split, Iterable[Row]] = {name: loaded[name] for name in SPLITS if name in loaded}
    wanted: dict[Split, Iterable[Row]] = {n: rows for n, rows in known.items() if split in (None, n)}
    if not wanted:
        raise InputError(
            f"has no split {split or 'train, validation or test'}; it has {', '.join(map(str, loaded))}",
            path=source,
        )
    if split is None and (others := [str(name) for name in loaded if name not in known]):
        _log.warning(
            "%srows of the splits %s are not read: only train, validation and test are",
            "" if source is None else f"{source}: ", ", ".join(others),
        )  # fmt: skip
    return wanted


def _load(source: str | Path, builder: str, **arguments: Any) -> Mapping[str, Iterable[Row]]:
    library: Any = import_module("datasets")  # heavy
    load: Any = library.load_dataset
    try:
        with _quiet(library, local=Path(source).exists()):
            if _is_saved(Path(builder)):
                load = library.load_from_disk
            elif Path(source).exists():
                # `datasets` knows files by place and time: another file of the same time would not be read.
                arguments["cache_dir"] = str(
                    library.config.HF_DATASETS_CACHE / "pluralign" / files_digest(source)
                )
            found = load(builder, **arguments)
            if not is_object(found):
                found = {"train": found}
            loaded = {name: _unshifted(rows, source) for name, rows in found.items()}
            return _as_written(source, loaded) if any(map(_has_times, loaded.values())) else loaded
    except InputError:
        raise
    except Exception as error:
        for reported in explain(source):
            raise reported from error
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        if not Path(source).exists():
            reason = f"no such file or folder, and the hub does not provide it: {reason}"
        raise InputError(f"cannot be read: {reason}", path=source) from error


@contextlib.contextmanager
def _quiet(library: Any, *, local: bool) -> Generator[None]:
    """Keep `datasets` and the hub's library from printing errors, which are one line here; and, of local
    data, from asking a server to count that they are read, which takes seconds where there is no network."""
    hub, config = getLogger("huggingface_hub"), library.config
    hidden, verbosity = library.are_progress_bars_disabled(), library.logging.get_verbosity()
    hub_level, counts = hub.level, config.HF_UPDATE_DOWNLOAD_COUNTS
    library.disable_progress_bars()
    library.logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    config.HF_UPDATE_DOWNLOAD_COUNTS = counts and not local
    try:
        yield
    finally:
        library.logging.set_verbosity(verbosity)
        hub.setLevel(hub_level)
        config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        if not hidden:
            library.enable_progress_bars()


def _has_times(rows: Any) -> bool:
    """Whether a column has times, or a field in one."""
    return "timestamp[" in str(rows.features.arrow_schema)


def _as_written(source: str | Path, loaded: Mapping[str, Any]) -> Mapping[str, Iterable[Row]]:
    """The rows of local JSON, with texts in place of times: it has none, but pyarrow takes texts for times
    where all texts of a field are dates. Other data stay as they are."""
    builder: Any = import_module("datasets").load_dataset_builder
    path, files = Path(source), {"train": [str(source)]}
    if path.is_dir() and not _is_saved(path):
        found = builder(str(path))
        files = dict(found.config.data_files) if found.name == "json" else {}
    if not all(is_json(file) for own in files.values() for file in own):
        return loaded
    try:
        return {
            name: [
                {column: row.get(column) for column in rows.column_names}
                for file in files[name]
                for row in json_rows(Path(file))
            ]
            for name, rows in loaded.items()
        }
    except ValueError:
        # One object over several lines.
        return loaded


def _unshifted(rows: Any, source: str | Path) -> Any:
    """Rows of a table whose rows are not longer than its header, which would put cells into wrong columns.

    Raises:
        InputError: They are longer.
    """
    names: list[str] = getattr(rows, "column_names", None) or []
    more = sum(name.startswith("__index_level_") for name in names)
    if more:
        raise InputError(f"the rows have {more} cells more than the header", path=source)
    return rows
