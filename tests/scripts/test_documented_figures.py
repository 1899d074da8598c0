"""Figures of the documentation are found again: in a results file, by a command, with their seeds."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "experiments" / "README.md"]
PAPERS = ROOT / "docs" / "papers.md"
SCRIPTS = sorted(
    path for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text("utf-8")
)
ROWS = re.findall(
    r"^\| `python experiments/(\w+)\.py.*$", (ROOT / "experiments" / "README.md").read_text("utf-8"), re.M
)
"""Scripts of the rows of experiments/README.md."""
SOURCE = re.compile(r"(?:experiments|benchmarks|tests)/[\w/]+\.(?:py|json|md)")
"""What gives a table: a script, a test or a results file."""
INTERVAL = re.compile(r"([+-]?\d[\d.,]*) \(([+-]?\d[\d.]*) ?(?:to|–) ?([+-]?\d[\d.]*)\)")
# Tables that repeat others, or quote papers.
SUMMARIES = ("What held", "Twelve systems of many objectives")
# Means and ranges over the seeds in the file, which its page has in another layout.
DERIVED = {"ethical_theories"}
# Another run with other random numbers, which the text says is not kept.
NOT_KEPT = {("0.029", "-0.021", "0.079")}


def sections() -> Iterator[tuple[str, str]]:
    """Headings of docs/papers.md with the text up to the next one."""
    for part in re.split(r"^#{2,3} ", PAPERS.read_text("utf-8"), flags=re.M)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, text.strip()


def tables(text: str) -> list[str]:
    """Header rows of the tables with figures; what is in a paper and where it is here are none."""
    headers = re.findall(r"^(\|.*)\n\|[\s:|-]+\|$", text, flags=re.M)
    return [header for header in headers if not header.startswith("| in the paper")]


def named_results(text: str) -> set[str]:
    """Experiments that a text names, if they have results."""
    names = re.findall(r"experiments/(?:results/)?(\w+)\.(?:py|md|json)", text)
    return {name for name in names if (RESULTS / f"{name}.json").is_file()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    for name in re.findall(r"\bresults/([\w-]+\.(?:json|md|svg|png))", text):
        assert name.startswith("NAME.") or (RESULTS / name).is_file(), name
    for name in re.findall(r"\b((?:experiments|benchmarks)/\w+\.py)", text):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_experiment_has_a_command_and_results_or_says_that_it_has_none(script: Path) -> None:
    name = script.stem
    lines = (ROOT / "experiments" / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if f"`python experiments/{name}.py" in line]
    assert rows, f"{name} has no row in experiments/README.md"
    for row in rows:
        assert len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 3, row
    own = {name, *(found for row in rows for found in re.findall(r"`results/(\w+)\.json`", row))}
    there = any(all((RESULTS / f"{one}.{kind}").is_file() for kind in ("json", "md")) for one in own)
    assert there or any("not run yet" in row for row in rows), f"{name} has no results"


def test_rows_are_those_of_scripts() -> None:
    assert set(ROWS) == {script.stem for script in SCRIPTS}


@pytest.mark.parametrize(("heading", "text"), [pytest.param(*one, id=one[0]) for one in sections()])
def test_every_table_names_what_gives_it(heading: str, text: str) -> None:
    if tables(text):
        found = SOURCE.findall(text)
        assert found, f"{heading}: no experiment, test or results file"
        assert any((ROOT / "docs" / path).is_file() or (ROOT / path).is_file() for path in found), found


def seeds_of(value: Any) -> set[str]:
    """Every number of seeds, list of seeds and seed in a results file."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("seed", "seeds") and isinstance(inner, int):
                # A number of seeds above one is as good as a second seed.
                found |= (
                    {str(inner)}
                    if key == "seed"
                    else {f"one of {inner}", "another"} - ({"another"} if inner == 1 else set())
                )
            elif key == "seeds" and isinstance(inner, list):
                found |= {str(one) for one in inner}
            found |= seeds_of(inner)
    elif isinstance(value, list):
        for inner in value:
            found |= seeds_of(inner)
    return found


ONE_SEED = {"judged_games", "afd_gsm8k"}
"""Experiments of one training seed (per task); the others have several, or train nothing."""


def test_the_experiments_of_one_seed_are_these() -> None:
    """Where a file records its seeds, there is one; and no other file records one alone."""
    for path in RESULTS.glob("*.json"):
        seeds = seeds_of(json.loads(path.read_text("utf-8")))
        if path.stem in ONE_SEED:
            assert len(seeds) <= 1, (path.stem, seeds)
        else:
            assert len(seeds) != 1, (path.stem, seeds)


@pytest.mark.parametrize(("heading", "text"), [pytest.param(*one, id=one[0]) for one in sections()])
def test_a_section_of_one_training_seed_says_so_in_its_first_line(heading: str, text: str) -> None:
    if heading in SUMMARIES or not tables(text):
        return
    first = text.splitlines()[0].lower()
    scripts = set(re.findall(r"`python experiments/(\w+)\.py", text))
    if scripts & ONE_SEED or re.search(r"one (training )?seed\b", text.lower()):
        assert "one training seed" in first, f"{heading}: {first}"


def in_page(interval: tuple[str, ...], page: str) -> bool:
    value, low, high = (number.lstrip("+") for number in interval)
    return f"{value} ({low} to {high})" in page


def groups(value: Any) -> Iterator[list[float]]:
    """Numbers that are in one place of a results file."""
    if isinstance(value, dict | list):
        own = list(numbers(value))
        if len(own) <= 60:
            yield own
        for inner in value.values() if isinstance(value, dict) else value:
            yield from groups(inner)


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)


def rounds_to(number: float, text: str) -> bool:
    decimals = len(text.partition(".")[2])
    return abs(number - float(text)) <= 0.5001 * 10**-decimals


def in_file(interval: tuple[str, ...], places: list[list[float]]) -> bool:
    return any(
        all(any(rounds_to(scale * number, text) for number in place) for text in interval)
        for place, scale in itertools.product(places, (1, 100))
    )


@pytest.mark.parametrize(("heading", "text"), [pytest.param(*one, id=one[0]) for one in sections()])
def test_intervals_of_tables_are_those_of_the_results(heading: str, text: str) -> None:
    """Every "mean (low to high)" of a table is on the results page, or in one place of the results file."""
    names = named_results(text) - DERIVED
    if heading in SUMMARIES or not names:
        return
    lines = [line for line in text.splitlines() if line.startswith("|")]
    asked = {found for line in lines for found in INTERVAL.findall(line.replace("**", ""))}
    page = " ".join((RESULTS / f"{name}.md").read_text("utf-8") for name in names)
    page = re.sub(r"\+(?=\d)", "", page.replace("–", " to ").replace("**", ""))
    left = [interval for interval in asked - NOT_KEPT if not in_page(interval, page)]
    if left:
        files = [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in names]
        places = [place for file in files for place in groups(file)]
        left = [interval for interval in left if not in_file(interval, places)]
    assert not left
