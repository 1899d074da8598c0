"""``pluralign evaluate best-of-n``: golden rewards of best-of-N by several rewards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.golden import GoldenCurves


def evaluate_best_of_n(
    completions: str,
    rewards: tuple[str, ...],
    golden: str,
    out: Path,
    base: str | None = None,
    demonstrations: str | None = None,
    greedy: str | None = None,
    dtype: DTypeName = "float32",
    seed: int = 0,
) -> Figures:
    """Measure best-of-N by each reward with a golden reward, for every N from one set of samples.

    Rewards and the golden reward are anything that `pluralign score` takes. In the last line of the table,
    the golden reward selects itself: no reward can do better on these samples. A reward's proxy point is
    its mean at the N where the golden reward is highest: a level for `pluralign targets --exactly`. An
    interrupted run continues.

    Example: pluralign evaluate best-of-n --completions draws.jsonl --rewards irl=runs/irl bt=runs/bt
    --golden runs/golden --base base.jsonl --demonstrations demo.jsonl --greedy greedy.jsonl --out runs/bon

    Args:
        completions: Samples, the same number per prompt (`pluralign generate --samples N`).
        rewards: Rewards that select, as NAME=REWARD.
        golden: Golden reward, which measures the selected samples.
        out: Folder for report.json, curves.svg and rewards.jsonl.
        base: Answers of the base model to the same prompts; their mean golden reward becomes 0.
        demonstrations: Demonstrations for the same prompts; their mean golden reward becomes 1.
        greedy: One deterministic answer to each prompt (`--temperature 0`), the baseline of win rates.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        seed: Random seed of the bootstrap.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.golden import golden_best_of_n

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    files = {"base": base, "demonstrations": demonstrations, "greedy": greedy}
    others = {n: load_answers(f, one=n == "greedy") for n, f in files.items() if f is not None}
    draws = load_answers(completions)
    found = golden_best_of_n(draws, dict(named), golden, others, out, dtype=dtype, seed=seed)
    _report(found)
    figures = {
        "completions": completions, "prompts": found.prompts, "samples": found.samples, "rewards": named,
        "golden": golden, "seed": seed,
    }  # fmt: skip
    figures = found.save(out, figures)
    wrote(
        out / "report.json", f"{len(found.curves)} curves up to N = {found.samples}; curves.svg is next to it"
    )
    return figures


def _report(found: GoldenCurves) -> None:
    if found.note:
        say(f"not normalised: {found.note}")
    shown = found.shown()
    sizes: list[int] = sorted({min(4**k, found.samples) for k in range(6)})
    golden = {title: curve.golden for title, curve in shown.items()}
    wins = {title: curve.win_rate for title, curve in shown.items() if curve.win_rate is not None}
    for title, family in ((found.label, golden), ("win rate", wins)):
        if family:
            say(f"{title} of the best of N on {found.prompts} prompts, with standard errors")
            rows = {name: [curve[n - 1].with_error() for n in sizes] for name, curve in family.items()}
            say_table([f"N = {n}" for n in sizes], rows)
    for name, point in found.proxy_points.items():
        if point.peaks:
            say(
                f"proxy point of {name}: the golden reward is highest at N = {point.n}, where {name} has "
                f"the mean {point.level:.4g} (targets --exactly {name}={point.level:.4g}); at "
                f"N = {found.samples} the golden reward is {point.lost.with_interval(3)} lower"
            )
        else:
            say(f"proxy point of {name}: none; the golden reward is highest at N = {found.samples}")
