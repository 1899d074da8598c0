"""What imports-linter cannot see: scripts use the library, and verbs do not use each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for room in ("experiments", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")
)
VERBS = sorted((ROOT / "src/pluralign/cli").glob("*.py"))
SHARED = {f"pluralign.cli{name}" for name in ("", ".common", ".texts", ".policies", ".guides")}
"""What verbs may share: parsing, printing, and how counts of what was read are reported."""


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("pluralign.cli")}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_do_without_the_command_line(path):
    assert not imported(path)


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.name)
def test_verbs_share_parsing_and_printing_only(path):
    learners = (
        {"pluralign.cli.learn", "pluralign.cli.learn_texts"}
        if path.name.startswith(("learn", "avril"))
        else set()
    )
    assert imported(path) <= SHARED | learners
