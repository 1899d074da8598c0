"""Win rates between two sources of completions, by a rater's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pluralign.annotate.open import DecideName, open_rater
from pluralign.core.digests import digest, source_digest
from pluralign.data.answers import AnswerSet, load_answers
from pluralign.data.source import Data
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
class ComparedCompletions:
    """Result of a comparison of two sources.

    Args:
        found: Win rate of the first source against the second.
        rater: Name of the rater.
        objective: Name of the objective.
    """

    found: WinRate
    rater: str
    objective: str


def compare_completions(
    a: Data, b: Data, rater: str, *, objective: str = "", description: str = "",
    decide: DecideName = "agreement", prompt: Path | None = None, rubric: Path | None = None,
    endpoint: EndpointSettings | None = None, dtype: DTypeName = "float32", out: Path | None = None,
) -> ComparedCompletions:  # fmt: skip
    """Have a rater compare the completions of two sources, prompt by prompt.

    Args:
        a: One completion per prompt: a file, or rows (`load_answers`).
        b: One completion for each of A's prompts.
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
        InputError: A source cannot be read, B has no answer to a prompt of A, or the rater or the objective
            is not known; or see `win_rate`.

    Examples:
        >>> from pathlib import Path
        >>> import pluralign as pl
        >>> code = "def brief(prompts, texts):\\n    return [-len(text) for text in texts]"
        >>> _ = Path("brief.py").write_text(code)
        >>> one = [{"prompt": f"Say {i}:", "completion": " short"} for i in range(4)]
        >>> other = [{**row, "completion": " much longer"} for row in one]
        >>> pl.evaluate.compare_completions(one, other, "reward:function:brief.py:brief").found.win.mean
        1.0
    """
    first, second = (load_answers(data, one=True) for data in (a, b))
    wanted = judged_objective(rater, objective, description)
    own = COMPLETIONS_PROMPT if rater.startswith(("judge:", "rubric:")) else None
    # A win rate counts ties, so rewards are compared as they are: every difference decides.
    exact = 0.0 if rater.startswith("reward:") else None
    asked = open_rater(
        rater, prompt=prompt or own, decide=decide, endpoint=endpoint, dtype=dtype, tie_sigmas=exact,
        rubric=rubric,
    )  # fmt: skip
    rated_by = [rater, asked.name, asked.settings]
    made_of = {"a": _digest(a, first), "b": _digest(b, second), "rater": rated_by, "dtype": dtype}
    comparisons = answer_comparisons(first, second, asked)
    found = win_rate(comparisons, asked, wanted, path=out, made_of=made_of)
    return ComparedCompletions(found, asked.name, wanted.name)


def _digest(data: Data, read: AnswerSet) -> Any:
    """Digest of a file, or of the answers of rows in memory."""
    return source_digest(data) if isinstance(data, str | Path) else digest([repr(read).encode()])
