"""A run of several stages in one folder that can be interrupted and continued.

Each finished stage writes ``.stages/NAME.json`` with its figures, its duration, and a digest of its settings
and of all earlier stages. A stage with the same digest is not run again. The progress of an unfinished stage
is recorded in the stage's own files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pluralign.core.digests import digest
from pluralign.core.files import read_json, write_json

Say = Callable[[str], None]
"""A function that reports progress to the user, one line at a time, such as `print`."""


class StagedRun:
    """The stages of one run, in order.

    Args:
        folder: Folder of the run.
        stages: Number of stages, for the progress line.
        say: Reports progress.
    """

    def __init__(self, folder: Path, stages: int, say: Say = print) -> None:
        self.folder = folder
        self._stages, self._say = stages, say
        self._count = 0
        self._chain = ""
        self.seconds: dict[str, float] = {}

    def stage(
        self, name: str, title: str, settings: Mapping[str, Any], run: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Run a stage, or read its figures if it is finished.

        Args:
            name: Name of the stage's file.
            title: Title in the progress line.
            settings: All settings that the result depends on, as plain JSON values.
            run: Function that does the work and returns figures as plain JSON values.
        """
        self._count += 1
        text = json.dumps([self._chain, name, settings], sort_keys=True, default=str)
        self._chain = digest([text.encode()])
        mark = self.folder / ".stages" / f"{name}.json"
        label = f"[{self._count}/{self._stages}] {title}"
        known: dict[str, Any] = read_json(mark) if mark.exists() else {}
        if known.get("digest") == self._chain:
            self._say(f"{label}: already done ({known['seconds']:.0f} s)")
        else:
            self._say(label)
            begun = time.perf_counter()
            figures = run()
            known = {
                "digest": self._chain,
                "seconds": round(time.perf_counter() - begun, 2),
                "figures": figures,
            }
            write_json(mark, known)
            # As a continued run reads them.
            known = read_json(mark)
        self.seconds[name] = known["seconds"]
        return known["figures"]

    @property
    def total(self) -> float:
        """Seconds of all stages so far, including stages that earlier runs finished."""
        return sum(self.seconds.values())
