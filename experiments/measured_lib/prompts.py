"""Questions of HH-RLHF as chats in the model's own template."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.splits import seed_for
from pluralign.lm.prompts import render_chat

FILES = ("helpful", "helpful_online", "helpful_rejection_sampled")
LONGEST = 160


def questions(data: Path) -> list[str]:
    """First messages of the helpful conversations that are questions of at most 160 characters.

    Args:
        data: Folder that contains ``hh_rlhf``.

    Raises:
        InputError: A file is missing.
    """
    found: dict[str, None] = {}
    for name in FILES:
        path = data / "hh_rlhf" / f"{name}.jsonl.gz"
        if not path.is_file():
            raise InputError("no such file", path=path)
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text: str = json.loads(line)["chosen"]
                said = text.removeprefix("\n\nHuman: ").partition("\n\nAssistant:")[0].strip()
                if said.endswith("?") and len(said) <= LONGEST and "\n" not in said:
                    found[said] = None
    return list(found)


def divided(
    data: Path, tokenizer: PreTrainedTokenizerBase, sizes: tuple[int, ...], seed: int
) -> tuple[list[str], ...]:
    """Prompts in disjoint parts, in the tokenizer's chat template.

    Args:
        data: Folder that contains ``hh_rlhf``.
        tokenizer: Tokenizer with a chat template.
        sizes: Number of prompts of each part.
        seed: Random seed of the division.

    Raises:
        InputError: A file is missing, or there are too few questions.
    """
    return tuple([rendered(tokenizer, one) for one in part] for part in parts(data, sizes, seed))


def rendered(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """A question as a chat, up to the start of the answer."""
    return render_chat(tokenizer, [{"role": "user", "content": question}])


def parts(data: Path, sizes: tuple[int, ...], seed: int) -> list[list[str]]:
    """Questions in disjoint parts; see `divided`."""
    known = sorted(questions(data), key=lambda text: seed_for(text, seed))
    if len(known) < sum(sizes):
        raise InputError(f"expected {sum(sizes)} questions or more, found {len(known)}", path=data)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [known[start : start + size] for start, size in zip(starts, sizes, strict=True)]
