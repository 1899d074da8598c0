"""Prior values of prompts from a file of scored completions."""

from __future__ import annotations

from pluralign.core.checks import checked
from pluralign.core.messages import DIALOGUE, Render
from pluralign.data.load import load_scored
from pluralign.data.source import Data
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.prompt_value import PromptValue, fit_prompt_value


@checked
def load_prompt_value(
    context: Data, model: str = DEFAULT_MODEL, *, template: str | Render = DIALOGUE, max_length: int = 512
) -> PromptValue:
    """Predictor of a policy's mean reward on a prompt, from its scored completions of other prompts.

    >>> rows = [{"prompt": f"Say {word}:", "completion": " yes", "reward": 1} for word in ("a", "an", "the")]
    >>> load_prompt_value(rows, "tiny-random").predict(["Say this:"])
    array([1.])

    Args:
        context: Scored completions (`load_scored`), one or more of each of three or more prompts.
        model: Frozen trunk whose features describe prompts; it need not be the policy.
        template: How messages become text: a name (``chat`` is that of ``model``) or a function.
        max_length: Largest number of tokens of a prompt; its end is read.

    Raises:
        InputError: See `load_scored` and `fit_prompt_value`.
    """
    rows = load_scored(context, template=template, model=model)
    return fit_prompt_value(
        [row.prompt for row in rows], [row.reward for row in rows], model, max_length=max_length
    )
