"""Principles on MoralChoice: a preference head tested on the rule left out, and which rules are at stake.

Frozen features of a language model that reads a principle and a decision (RewardAnything's and Value
Kaleidoscope's questions, at a small size). Labels are MoralChoice's (Scherrer et al. 2023).

    OMP_NUM_THREADS=1 python experiments/principles.py --data DIR

Features are kept in ``--out``; everything else takes minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from console import say
from principles_lib import at_stake, left_out
from principles_lib.settings import Settings, chosen_cases
from principles_lib.tables import as_markdown

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole, write_json
from pluralign.options.open import Models


def run(settings: Settings) -> dict[str, Any]:
    """Run the experiment; write and return the figures."""
    cases = chosen_cases(settings)
    models = Models(settings.model, settings.out / "features")
    decisions = left_out.all_decisions(cases) + [at_stake.decision_of(case) for case in cases]
    say(f"[1/3] features of {len(decisions)} decisions with principles by {settings.model} (once)")
    for start in range(0, len(decisions), 64):
        models.store.get(decisions[start : start + 64])
        if start % 512 == 0:
            say(f"  {start} of {len(decisions)}")
    models.store.flush()
    say("[2/3] the rule left out")
    report: dict[str, Any] = {
        "experiment": "principles",
        "command": "python experiments/principles.py --data DIR",
        "settings": {
            name: getattr(settings, name) for name in ("model", "every", "folds", "seeds", "steps", "judged")
        },
        "decisions": len(cases),
        "features_dtype": str(models.store.backbone.dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("pluralign", "torch", "transformers", "numpy")},
        "rule left out": left_out.measure(cases, models.store, settings),
    }
    write_json(settings.out / "rule_left_out.json", report)
    say("[3/3] rules at stake")
    report["at stake"] = at_stake.measure(cases, models.store, models.language_model, settings)
    write_json(settings.results / "principles.json", report)
    with replace_when_whole(settings.results / "principles.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    for name in ("json", "md"):
        say(f"wrote {settings.results / f'principles.{name}'}")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line. Exit codes: 0 success, 2 bad input, 130 interrupted."""
    import tyro

    try:
        run(tyro.cli(Settings, args=arguments, description=(__doc__ or "").splitlines()[0]))
    except InputError as error:
        print(f"principles: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("principles: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
