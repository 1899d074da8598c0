"""``pluralign evaluate win-rate``: win rates between two sets of completions, by a judge or a reward."""

from __future__ import annotations

from pathlib import Path

from pluralign.annotate.open import DecideName
from pluralign.cli.common import Figures, Requests, say, say_table, wrote
from pluralign.evaluate.rewards.compared_completions import compare_completions
from pluralign.evaluate.rewards.win_rate import WinRate
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings


def evaluate_win_rate(
    a: str,
    b: str,
    rater: str,
    objective: str = "",
    description: str = "",
    decide: DecideName = "agreement",
    prompt: Path | None = None,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
    out: Path | None = None,
    dtype: DTypeName = "float32",
    rubric: Path | None = None,
) -> Figures:
    """Measure how often completions A win, tie or lose against completions B of the same prompts.

    Raters: judge:MODEL (a local language model), judge:openai:MODEL (an endpoint), rubric:MODEL (a judge of
    each criterion of --rubric by itself), reward:REWARD (the higher reward wins; anything that `pluralign
    score` takes). Judges compare in both orders. With --out, an interrupted run continues.

    Example: pluralign evaluate win-rate --a best.jsonl --b sft.jsonl --rater judge:smollm2-135m
    --objective harmless --out runs/ratings.jsonl

    Args:
        a: File with one completion per prompt.
        b: File with one completion for each of A's prompts.
        rater: Rater, as listed above.
        objective: Objective that judges compare by: harmless, helpful, or any name with a description.
        description: Meaning of a higher value of the objective, in words that a judge can use.
        decide: Rule for a judge's answers in both orders: a tie if they differ (agreement), or the mean of a
            local judge's log-odds (mean).
        prompt: Prompt file that replaces the judge's built-in prompt for completions.
        endpoint: Requests to an endpoint.
        out: JSON-lines file for the rating of each prompt.
        dtype: Precision of local models.
        rubric: Criteria of rubric:MODEL as JSON lines with name, description and, optionally, weight and
            veto.
    """
    compared = compare_completions(
        a, b, rater, objective=objective, description=description, decide=decide, prompt=prompt,
        rubric=rubric, endpoint=endpoint, dtype=dtype, out=out,
    )  # fmt: skip
    found = compared.found
    _say_wins(found, compared.rater)
    if out is not None:
        wrote(out, f"{found.prompts} ratings")
    return {"a": a, "b": b, "rater": compared.rater, "objective": compared.objective, **found.to_json()}


def _say_wins(found: WinRate, rater: str) -> None:
    say(f"A against B on {found.prompts} prompts by {rater}, with standard errors")
    say_table(
        ["win", "tie", "lose"],
        {"A": [found.win.with_error(), found.tie.with_error(), found.lose.with_error()]},
    )
    gap = found.difference
    say(f"win - lose: {gap.mean:+.3f} (95 %: {gap.low:+.3f} to {gap.high:+.3f})")
    if found.unanswered:
        say(f"{found.unanswered} prompts have no answer")
    if found.contradictions is not None:
        contradicted = round(found.contradictions.mean * found.prompts)
        say(
            f"the judge contradicts itself between orders on {100 * found.contradictions.mean:.0f} % "
            f"({contradicted} of {found.prompts}; the first position in {found.first_place} of them)"
        )
