"""Every example in a docstring runs, of public names and of others."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import pluralign as pl

SOURCE = Path(pl.__file__).parent
MODULES = [
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(SOURCE.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    finder, runner = (
        doctest.DocTestFinder(),
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
    )
    found = [test for test in finder.find(module, name, extraglobs={"pl": pl}) if test.examples]
    assert found, f"{name} has >>> in no docstring"
    for test in found:
        assert runner.run(test).failed == 0, test.name
