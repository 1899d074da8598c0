"""``pluralign demo``: the whole pipeline on one story."""

from __future__ import annotations

import time
from pathlib import Path

from pluralign.cli.common import Figures, say, wrote
from pluralign.workflows.demo import run_job
from pluralign.workflows.main_job import JobSettings, MainJob


def demo(out: Path = Path("demo"), story: str = "salt_ledger", seed: int = 0) -> Figures:
    """Run the whole pipeline on one story: collect, annotate, pair, train, steer, evaluate.

    A language model plays; an oracle and the language model compare continuations by each objective; CPL
    trains one agent per objective; the agents are mixed by weights. The report shows the effect of the
    weights. The same command continues an interrupted run.

    Example: pluralign demo --out demo --story salt_ledger

    Args:
        out: Output folder.
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        seed: Random seed of all stages.
    """
    began = time.perf_counter()
    report = run_job(MainJob(out, JobSettings(story=story, seed=seed), say))
    say("")
    wrote(out / "report.json", "the figures")
    wrote(out / "report.html", "open it in a browser")
    wrote(out / "picture.svg", "the sweep")
    ratio = report.hypervolume_ratio
    covered = "" if ratio is None else f"hypervolume {100 * ratio:.0f} % of the exact front's; "
    say(
        f"{report.title}: {covered}{report.seconds:.0f} s in all, "
        f"{time.perf_counter() - began:.0f} s of them now"
    )
    return report.to_json()
