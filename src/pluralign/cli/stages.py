"""A run of several stages in one folder that can be stopped and continued.

Each finished stage leaves ``.stages/NAME.json`` with a digest of its settings and of all that came
before it, its figures and its seconds. A stage whose digest still fits is not run again; within a
stage, the stages' own files say where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pluralign.cli.common import say
from pluralign.core.digests import digest
from pluralign.core.files import read_json, write_json


class StagedRun:
    """The stages of one run, in order.

    Args:
        folder: where everything is written.
        stages: how many there will be, for the progress line.
    """

    def __init__(self, folder: Path, stages: int) -> None:
        self.folder = folder
        self._stages = stages
        self._count = 0
        self._chain = ""
        self.seconds: dict[str, float] = {}

    def stage(
        self, name: str, title: str, settings: Mapping[str, Any], run: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run a stage, or take its figures from the last time.

        Args:
            name: file name of the stage's mark.
            title: what the person reads.
            settings: all that its outcome depends on, plain JSON values.
            run: does it; returns figures, plain JSON values.
        """
        self._count += 1
        text = json.dumps([self._chain, name, settings], sort_keys=True, default=str)
        self._chain = digest([text.encode()])
        mark = self.folder / ".stages" / f"{name}.json"
        label = f"[{self._count}/{self._stages}] {title}"
        if mark.exists() and (known := read_json(mark)).get("digest") == self._chain:
            say(f"{label}: done before ({known['seconds']:.0f} s)")
        else:
            say(label)
            begun = time.perf_counter()
            figures = run()
            known = {
                "digest": self._chain,
                "seconds": round(time.perf_counter() - begun, 2),
                "figures": figures,
            }
            write_json(mark, known)
        self.seconds[name] = known["seconds"]
        return known["figures"]

    @property
    def total(self) -> float:
        """Seconds of all stages so far, those of earlier runs among them."""
        return sum(self.seconds.values())
