"""Fallback choices of Ink, which play takes by itself where no other choice is left: ``* -> elsewhere``.

A saved state has those that were passed on the way to a decision, without a mark, so that a loaded state
would list them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from pluralign.core.jsonl import is_list, is_object

# Flag of a choice point in compiled Ink.
_FALLBACK = 8


def fallback_choices(content: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of the fallback choices in a container of compiled Ink, as saved states name them.

    Args:
        content: The container: its parts, then an object with its named parts, or null.
        path: Path of the container.
    """
    *parts, named = content
    for index, part in enumerate(parts):
        if is_list(part):
            last = part[-1] if part else None
            name = last.get("#n") if is_object(last) else None
            yield from fallback_choices(part, (*path, str(index if name is None else name)))
        elif is_object(part) and "*" in part and part.get("flg", 0) & _FALLBACK:
            yield ".".join((*path, str(index)))
    for name, part in named.items() if is_object(named) else ():
        if is_list(part):
            yield from fallback_choices(part, (*path, name))


def without_fallbacks(state: str, fallbacks: Collection[str]) -> str:
    """A saved state without the fallback choices, which play no longer takes once it stops at a decision.

    Args:
        state: The state.
        fallbacks: Paths of the story's fallback choices.
    """
    row: Any = json.loads(state)
    for flow in row["flows"].values():
        choices = flow["currentChoices"]
        flow["currentChoices"] = [one for one in choices if one["originalChoicePath"] not in fallbacks]
        kept = {str(one["originalThreadIndex"]) for one in flow["currentChoices"]}
        threads = flow.get("choiceThreads", {})
        flow["choiceThreads"] = {index: thread for index, thread in threads.items() if index in kept}
    return json.dumps(row, ensure_ascii=False)
