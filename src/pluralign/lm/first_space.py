"""The space that some tokenizers put before the first word of a text.

Tokenizers of SentencePiece's kind (Llama 2, Mistral, Phi-3) do so, and byte-level ones with
``add_prefix_space``. It belongs to the beginning of a text, and to none that goes on where another ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# These split at spaces and drop them, so that a first word cannot be told from one after a space.
_DROP_SPACES = {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}


def without_first_space(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """A tokenizer that puts no space before first words.

    Args:
        state: Tokenizer, as the package tokenizers writes it to JSON, or these two parts of it.

    Returns:
        The changed tokenizer; None for one that puts no space there.
    """
    normalizer = _changed(state["normalizer"], "normalizers", _normalizer)
    splitter = state["pre_tokenizer"]
    if not any(one["type"] in _DROP_SPACES for one in _parts(splitter, "pretokenizers")):
        splitter = _changed(splitter, "pretokenizers", _splitter)
    found = {**state, "normalizer": normalizer, "pre_tokenizer": splitter}
    same = (state["normalizer"], state["pre_tokenizer"]) == (normalizer, splitter)
    return None if same else found


def _parts(step: Any, parts: str) -> list[Any]:
    if step is None:
        return []
    return [part for one in step[parts] for part in _parts(one, parts)] if parts in step else [step]


def _changed(step: Any, parts: str, change: Callable[[Any], Any]) -> Any:
    """A step, or a sequence of steps, with each changed; those that become None are left out."""
    if step is None or parts not in step:
        return None if step is None else change(step)
    found = [_changed(one, parts, change) for one in step[parts]]
    return {**step, parts: [one for one in found if one is not None]}


def _normalizer(step: Any) -> Any:
    return None if step["type"] == "Prepend" and step["prepend"] in ("▁", " ") else step


def _splitter(step: Any) -> Any:
    if step["type"] == "Metaspace":
        return {**step, "prepend_scheme": "never"}
    if step["type"] == "ByteLevel" and step["add_prefix_space"]:
        return {**step, "add_prefix_space": False}
    return step
