"""What import-linter does not check: scripts use the library, and verbs do not use each other."""

from __future__ import annotations

import ast
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
