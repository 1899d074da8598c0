"""Loading of text data for the verbs, with a line on standard error about rows read and left out."""

from __future__ import annotations

from collections.abc import Sequence

from pluralign.cli.common import left_out, say
from pluralign.core import Demonstration, Examples, PreferencePair
from pluralign.core.messages import Render
from pluralign.core.splits import SPLITS
from pluralign.data.examples import ScoredCompletion
from pluralign.data.load import load_demonstrations, load_pairs, load_scored


def read_texts(data: str, objective: str, render: Render, seed: int = 0) -> Examples[PreferencePair]:
    """Preference pairs of texts, including pairs with two prompts; see `load_pairs`."""
    found = load_pairs(data, objective, template=render, seed=seed, two_prompts=True)
    say_read_pairs(data, found)
    return found


def say_read_pairs(data: str, found: Examples[PreferencePair]) -> None:
    """Print how many rows were read and left out, if the source counts them."""
    if "rows" in found.counts:
        differ = found.counts["prompts_differ"]
        _say_read(data, found, "pairs", ("empty", "identical"), f"; {differ} with two prompts" * bool(differ))


def read_demonstrations(data: str, objective: str, render: Render, seed: int = 0) -> Examples[Demonstration]:
    """Completions offered as good; see `load_demonstrations`."""
    found = load_demonstrations(data, objective, template=render, seed=seed)
    _say_read(data, found, "demonstrations", ("empty", "unusable"))
    return found


def read_scored(
    data: str, objective: str, render: Render, seed: int = 0, adaptive: bool = False
) -> Examples[ScoredCompletion]:
    """Completions with rewards; see `load_scored`."""
    found = load_scored(data, objective, template=render, seed=seed, adaptive=adaptive)
    _say_read(data, found, "completions", ("unusable",), said="completions with rewards")
    return found


def _say_read(
    data: str, found: Examples[object], noun: str, reasons: Sequence[str], more: str = "", said: str = ""
) -> None:
    counts = found.counts
    splits = ", ".join(f"{counts[f'{noun}_{name}']} {name}" for name in SPLITS)
    tail = left_out(counts, {name: name for name in reasons}, "{count} {text}")
    say(f"{counts['rows']} rows of {data}: {counts[noun]} {said or noun}{tail}{more} ({splits})")
