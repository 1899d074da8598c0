"""Win rates between two files of completions, by a rater's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pluralign.annotate.open import DecideName, open_rater
from pluralign.core.digests import source_digest
from pluralign.data.answers import load_answers
from pluralign.evaluate.rewards.win_rate import (
    COMPLETIONS_PROMPT,
    WinRate,
    answer_comparisons,
    judged_objective,
    win_rate,
)
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings


@dataclass(frozen=True)
class ComparedFiles:
    """Result of a comparison of two files.

    Args:
        found: Win rate of the first file against the second.
        rater: Name of the rater.
        objective: Name of the objective.
    """

    found: WinRate
    rater: str
    objective: str


def compare_files(
    a: str | Path, b: str | Path, rater: str, *, objective: str = "", description: str = "",
    decide: DecideName = "agreement", prompt: Path | None = None, rubric: Path | None = None,
    endpoint: EndpointSettings | None = None, dtype: DTypeName = "float32", out: Path | None = None,
) -> ComparedFiles:  # fmt: skip
    """Have a rater compare the completions of two files, prompt by prompt.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     one, other, reward = (Path(folder) / name for name in ("a.jsonl", "b.jsonl", "brief.py"))
    ...     for file, text in ((one, " short"), (other, " much longer")):
    ...         rows = (f'{{"prompt": "{word}:", "completion": "{text}"}}' for word in ("Say a", "Say b"))
    ...         _ = file.write_text("\\n".join(rows))
    ...     _ = reward.write_text("def brief(prompts, texts):\\n    return [-len(text) for text in texts]")
    ...     compare_files(one, other, f"reward:function:{reward}:brief").found.win.mean
    1.0

    Args:
        a: File with one completion per prompt.
        b: File with one completion for each of A's prompts.
        rater: Rater: ``judge:MODEL``, ``rubric:MODEL`` or ``reward:REWARD``; see `open_rater`.
        objective: Objective that judges compare by; see `judged_objective`.
        description: Meaning of a higher value of the objective, in words that a judge can use.
        decide: Rule for a judge's answers in both orders.
        prompt: Prompt file that replaces the judge's built-in prompt for completions.
        rubric: File of the criteria of ``rubric:MODEL``.
        endpoint: Requests to an endpoint.
        dtype: Precision of local models.
        out: JSON-lines file for the ratings, from which an interrupted run continues; None keeps none.

    Raises:
        InputError: A file cannot be read, B has no answer to a prompt of A, or the rater or the objective is
            not known; or see `win_rate`.
    """
    first, second = (load_answers(str(path), one=True) for path in (a, b))
    wanted = judged_objective(rater, objective, description)
    own = COMPLETIONS_PROMPT if rater.startswith(("judge:", "rubric:")) else None
    # A win rate counts ties, so rewards are compared as they are: every difference decides.
    exact = 0.0 if rater.startswith("reward:") else None
    asked = open_rater(
        rater, prompt=prompt or own, decide=decide, endpoint=endpoint, dtype=dtype, tie_sigmas=exact,
        rubric=rubric,
    )  # fmt: skip
    rated_by = [rater, asked.name, asked.settings]
    made_of = {"a": source_digest(a), "b": source_digest(b), "rater": rated_by, "dtype": dtype}
    comparisons = answer_comparisons(first, second, asked)
    found = win_rate(comparisons, asked, wanted, path=out, made_of=made_of)
    return ComparedFiles(found, asked.name, wanted.name)
