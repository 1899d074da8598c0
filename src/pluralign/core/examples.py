"""Examples for training or measurement, as loaders and pairing functions return them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

from pluralign.core.messages import Template

Example = TypeVar("Example", covariant=True)


@dataclass(frozen=True)
class Examples(Sequence[Example]):
    """A sequence of examples that also reports how many rows were read and left out.

    A slice keeps counts, template and source; a list built from the examples loses them.

    Args:
        rows: Pairs, demonstrations, scored completions or prompts, in the order of their source.
        counts: Numbers of rows read, left out (by reason) and kept (in all and by split).
        template: Template that rendered messages to text; None if all rows were texts, or if the source does
            not record it. Training with another template is refused.
        source: File, its digest, and ``splits``, the loader's arguments that determine the splits (``seed``
            and ``shares``, or ``split``) unless the source has splits; empty for rows in memory. Cards of
            trained models record it.
    """

    rows: tuple[Example, ...]
    counts: Mapping[str, int]
    template: Template | None = None
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __repr__(self) -> str:
        # A notebook would show the texts of all rows.
        return f"<{len(self.rows)} examples, counts {dict(self.counts)}>"

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Examples[Example]:
        return replace(self, rows=self.rows[index]) if isinstance(index, slice) else self.rows[index]
