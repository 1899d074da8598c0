"""MoralChoice: one agent per moral rule, trained on published decisions, and steering between rules.

pluralign's own pipeline, stage by stage, on the 1,026 decisions of MoralChoice (Scherrer et al. 2023). Each
decision has a context, two actions, and a label for each action and rule whether the action violates it.
Every decision gives two trajectories of one step; an oracle compares them by each rule; CPL trains an agent
per rule in five folds, so that a decision is evaluated by an agent that has not seen it; the agents are mixed
by weights.

    OMP_NUM_THREADS=1 python experiments/moralchoice.py --data DIR

An interrupted run continues: trained agents are stored in ``--out``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from console import say
from moralchoice_lib.data import AMBIGUITIES, exchange, read_cases
from moralchoice_lib.fitting import GRID, Settings, learn_all, make_all_pairs
from moralchoice_lib.measures import evaluate
from moralchoice_lib.picture import draw
from moralchoice_lib.tables import as_markdown

from pluralign.core import (
    InputError,
)
from pluralign.core.files import replace_when_whole, write_json
from pluralign.options.open import Models


def run(settings: Settings) -> dict[str, Any]:
    """Run the experiment; write and return the figures."""
    cases = read_cases(settings.data, settings.seed)
    say(f"[1/5] {len(cases)} decisions; features of {settings.model} (once)")
    models = Models(settings.model, settings.out / "features")
    for start in range(0, len(cases), 128):
        some = cases[start : start + 128]
        models.store.get([c.decision for c in some] + [exchange(c).decision for c in some])
        say(f"  {start + len(some)} of {len(cases)} decisions, in both orders")
    models.store.flush()
    say("[2/5] annotate and pair")
    pairs = make_all_pairs(cases, settings)
    say(f"[3/5] learn: {len(GRID)} configurations, {settings.folds} folds, {settings.seeds} seeds")
    learned = learn_all(cases, pairs, models.store, settings)
    say("[4/5] steer and evaluate")
    figures = evaluate(cases, learned, models, settings)
    report = {
        "experiment": "moralchoice",
        "command": "python experiments/moralchoice.py --data DIR",
        "settings": {name: getattr(settings, name) for name in ("model", "folds", "seeds", "seed")},
        "features_dtype": str(models.store.backbone.dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("pluralign", "torch", "transformers", "numpy")},
        "decisions": {a: sum(c.ambiguity == a for c in cases) for a in AMBIGUITIES},
        "grid": [asdict(config) for config in GRID],
        "chosen": {str(fold): name for fold, name in learned.chosen.items()},
        "validation": {str(fold): scores for fold, scores in learned.validation.items()},
        **figures,
    }
    say("[5/5] report")
    write_json(settings.results / "moralchoice.json", report)
    with replace_when_whole(settings.results / "moralchoice.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    draw(report, settings.results / "moralchoice.svg")
    for name in ("json", "md", "svg"):
        say(f"wrote {settings.results / f'moralchoice.{name}'}")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line. Exit codes: 0 success, 2 bad input, 130 interrupted."""
    import tyro

    try:
        run(tyro.cli(Settings, args=arguments, description=(__doc__ or "").splitlines()[0]))
    except InputError as error:
        print(f"moralchoice: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("moralchoice: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
