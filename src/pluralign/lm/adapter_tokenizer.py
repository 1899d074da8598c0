"""Tokenizers that are saved next to adapters, as trainers do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from pluralign.lm.pretrained import read_tokenizer

_log = logging.getLogger(__name__)
_FILES = ("tokenizer.json", "tokenizer_config.json")


def tokenizer_beside(folder: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in an adapter's folder; None where it has none that can be read."""
    if not any((folder / name).is_file() for name in _FILES):
        return None
    try:
        return read_tokenizer(str(folder))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def warn_of_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say in which ways an adapter's own tokenizer differs from the one that is used with it.

    Args:
        folder: Folder of the adapter.
        tokenizer: Tokenizer of its base model, which texts are read with.
    """
    own: Any = tokenizer_beside(folder)
    used: Any = tokenizer
    if own is None:
        return
    found: list[str] = []
    if own.chat_template is not None and own.chat_template != used.chat_template:
        found.append("another chat template")
    if own.eos_token is not None and own.eos_token != used.eos_token:
        found.append(f"another end of text, {own.eos_token!r}")
    if more := sorted(set(own.get_vocab()) - set(used.get_vocab())):
        found.append(f"tokens that the model lacks, such as {more[0]!r}")
    if found:
        _log.warning(
            "%s: its own tokenizer has %s; the model's is used here (a copy of the model with the adapter's "
            "tokenizer files uses those)", folder, ", and ".join(found),
        )  # fmt: skip
