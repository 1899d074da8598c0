"""What import-linter does not check: scripts use the library, verbs do not use each other, and no modules
import each other, not even for types or within functions."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for room in ("experiments", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")
)
VERBS = sorted((ROOT / "src/pluralign/cli").glob("*.py"))
MODULES = {"pluralign.cli", *(f"pluralign.cli.{path.stem}" for path in VERBS)}
SHARED = {f"pluralign.cli{name}" for name in ("", ".arguments", ".common", ".texts", ".guides")}
"""What verbs may share: parsing, printing, and how counts of what was read are reported."""


SOURCES = ROOT / "src"
MODULES_BY_NAME = {
    ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCES.rglob("*.py")
}


def all_imports(name: str, path: Path, modules: Collection[str]) -> set[str]:
    """Modules that a module imports anywhere: at its top, in functions, and for types only."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - max(node.level - 1, 0)] if node.level else []
            )
            start = ".".join([*base, *([node.module] if node.module else [])])
            inner = {f"{start}.{alias.name}" for alias in node.names}
            # A name that is imported from a package may be a module of it.
            found |= {one if one in modules else start for one in inner}
    return found & set(modules) - {name}


def circle(modules: Mapping[str, Path]) -> list[str]:
    """Modules that import each other, the first one again at the end; none if there is no circle."""
    graph = {name: all_imports(name, path, modules) for name, path in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def imported(path: Path) -> set[str]:
    """Modules of the command line that a file imports; relative imports count as such modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "pluralign.cli.relative" if node.level else node.module
            # A name that is imported from a package may be a module of it.
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= {module, *(name for name in inner if name in MODULES)}
    return {name for name in found if name == "pluralign.cli" or name.startswith("pluralign.cli.")}


@pytest.mark.parametrize(
    "line",
    [
        "import pluralign.cli.score",
        "from pluralign import cli",
        "from pluralign.cli import main",
        "from . import x",
    ],
)
def test_every_way_to_import_the_command_line_is_seen(line, tmp_path):
    (tmp_path / "script.py").write_text(line)
    assert imported(tmp_path / "script.py")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_do_without_the_command_line(path):
    assert not imported(path)


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.name)
def test_verbs_share_parsing_and_printing_only(path):
    learners = {f"pluralign.cli.{name}" for name in ("learn", "learn_texts", "rl_options")}
    assert imported(path) <= SHARED | (learners if path.name.startswith("learn") else set())


def test_no_modules_import_each_other():
    assert circle(MODULES_BY_NAME) == []


@pytest.mark.parametrize(
    "line",
    [
        "import house.one",
        "from house.one import name",
        "from house import one",
        "from .one import name",
        "from . import one",
        "def late():\n    from house.one import name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.one import name",
    ],
)
def test_every_circle_is_seen(line, tmp_path):
    lines = {"house": "", "house.one": "from house.two import name", "house.two": line}
    modules = {name: tmp_path / f"{name.rpartition('.')[2]}.py" for name in lines}
    for name, path in modules.items():
        path.write_text(lines[name])
    assert set(circle(modules)) == {"house.one", "house.two"}


WRITERS = {
    "ProgressBar", "RecordWriter", "RowsInProgress", "replace_when_whole", "run_batches", "run_unordered",
    "save_rows", "write_bytes", "write_json", "write_text",
}  # fmt: skip
"""What works through rows or writes files; verbs call functions that do."""


def written(path: Path) -> set[str]:
    """Names of `WRITERS` that a file uses, and ``open`` if it opens a file for writing."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names} & WRITERS
        elif isinstance(node, ast.Name | ast.Attribute):
            found |= {node.id if isinstance(node, ast.Name) else node.attr} & WRITERS
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            values = [*node.args, *(word.value for word in node.keywords)]
            modes = [one.value for one in values if isinstance(one, ast.Constant)]
            if name == "open" and any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes):
                found.add("open")
    return found


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.name)
def test_verbs_leave_the_work_and_its_files_to_the_library(path):
    # The file of --json is the command line's own.
    assert written(path) <= ({"write_json"} if path.name == "__init__.py" else set())


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from pluralign.core.progress import ProgressBar as Bar", "ProgressBar"),
        ("from pluralign.core import resumable\nresumable.run_batches(1)", "run_batches"),
        ("path.write_text('x')", "write_text"),
        ("open('rows.jsonl', 'w')", "open"),
        ("path.open(mode='ab')", "open"),
    ],
)
def test_every_way_to_write_is_seen(line, name, tmp_path):
    (tmp_path / "verb.py").write_text(line)
    assert written(tmp_path / "verb.py") == {name}
