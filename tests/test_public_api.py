"""The public names: lazy, typed, documented, each with an example that runs."""

from __future__ import annotations

import ast
import builtins
import doctest
import importlib
import inspect
import logging
import re
import subprocess
import sys
import tomllib
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest

import pluralign as pl
from pluralign.cli import VERBS

ROOT = Path(__file__).parents[1]
NAMES = [name for name in pl.__all__ if name != "__version__"]


def test_every_public_name_is_there_and_no_other():
    assert len(set(pl.__all__)) == len(pl.__all__)
    assert sorted(pl.__all__) == sorted(dir(pl))
    for name in NAMES:
        assert getattr(pl, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pl.no_such_name


PACKAGES = [pl, pl.learn, pl.losses, pl.evaluate]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_name_is_also_a_module_s(package):
    # The import of a submodule would take the name's place.
    modules = {path.stem for path in Path(package.__file__).parent.iterdir()}
    assert {
        name for name in package.__all__ if not isinstance(getattr(package, name), ModuleType)
    } & modules == set()


def test_type_checkers_see_the_names_that_are_loaded_on_demand():
    stub = ast.parse((ROOT / "src/pluralign/__init__.pyi").read_text())
    lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    # Only "name as name" makes a stub's import public.
    assert all(alias.asname == alias.name for line in lines for alias in line.names)
    seen = {alias.name: line.module for line in lines for alias in line.names}
    assert set(seen) == set(NAMES)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(pl, name), name


def test_wheels_have_the_stubs_that_packages_read():
    """A package whose stub is missing cannot be imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    given = set(project["tool"]["setuptools"]["package-data"]["pluralign"])
    source = Path(pl.__file__).parent
    assert {str(path.relative_to(source)) for path in source.rglob("*.pyi")} <= given


def test_the_import_is_fast_and_needs_no_torch():
    code = "import sys, pluralign; print(*(name in sys.modules for name in ('torch', 'transformers')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_advice_about_a_kernel_that_is_not_used_is_not_shown(caplog):
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    log.warning("Failed to load CPU gemm_4bit_forward from kernels-community")
    log.warning("another warning")
    assert [record.getMessage() for record in caplog.records] == ["another warning"]


@pytest.mark.parametrize(
    "name",
    [
        *NAMES,
        *(f"learn.{name}" for name in pl.learn.__all__ if "fit_" in name),
        *(f"evaluate.{name}" for name in pl.evaluate.__all__),
    ],
)
def test_every_name_has_an_example(name):
    thing = attrgetter(name)(pl)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        found = doctest.DocTestFinder().find(thing, name)
        assert any(test.examples for test in found), f"{name} has no example in its docstring"
    else:
        assert isinstance(thing, ModuleType) or name == "METHODS"


def test_every_name_is_on_the_api_page():
    page = (ROOT / "docs/api.md").read_text()
    listed = re.findall(r"^::: pluralign\.(\w+)$", page, re.MULTILINE)
    assert sorted([*listed, "evaluate", "learn"]) == sorted(NAMES)
    for package in pl.learn, pl.evaluate:
        own = package.__name__.partition(".")[2]
        page = (ROOT / f"docs/api_{own}.md").read_text()
        listed = re.findall(rf"^::: pluralign\.{own}\.(\w+)$", page, re.MULTILINE)
        # Names that are in `pluralign` as well have their entry there.
        assert sorted(listed) == sorted(set(package.__all__) - set(NAMES))


def test_every_verb_that_measures_has_a_function():
    page = (ROOT / "docs/api_evaluate.md").read_text()
    rows = dict(re.findall(r"^\| `evaluate ([\w-]+)` \| `([\w.]+)`", page, re.MULTILINE))
    assert {f"evaluate {verb}" for verb in rows} == {verb for verb in VERBS if verb.startswith("evaluate ")}
    for name in rows.values():
        assert attrgetter(name.removeprefix("pl."))(pl if name.startswith("pl.") else pl.evaluate)


def test_every_method_is_in_learn():
    for row in pl.METHODS.values():
        for place in (row.home, row.settings):
            module, _, name = place.partition(":")
            if name and not row.is_loss:
                assert getattr(pl.learn, name) is getattr(importlib.import_module(module), name)


def test_the_readme_has_the_table_of_methods():
    from pluralign.learn.methods import method_table

    readme = (ROOT / "README.md").read_text()
    assert readme.partition("learn.methods` -->\n")[2].partition("\n<!-- end")[0] == method_table()


def test_links_of_the_readme_lead_to_files_that_are_there():
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert all(link.startswith("https://") for link in links), "relative links break on package indexes"
    inside = re.findall(r"pluralign/pluralign/(?:blob/|tree/)?main/([^)#]+)", readme)
    assert len(inside) > 10
    for path in inside:
        assert (ROOT / path).exists(), path


PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "experiments/README.md")),
]


def anchors(page):
    """Names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES[:-4], ids=lambda page: page.name)
def test_code_of_the_pages_defines_what_it_uses(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    known = set(dir(builtins))
    for block in blocks:
        nodes = list(ast.walk(ast.parse(block)))
        for node in nodes:
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                known.add(node.id)
            elif isinstance(node, ast.alias):
                known.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
        assert {node.id for node in nodes if isinstance(node, ast.Name)} <= known, block
        for name in re.findall(r"\bpl((?:\.\w+)+)", block):
            assert attrgetter(name[1:])(pl)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        inside = link.replace("https://github.com/pluralign/pluralign/blob/main/", f"{ROOT}/")
        if inside.startswith(("https://", "http://")):
            continue
        path, _, anchor = inside.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
