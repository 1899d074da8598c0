"""Files of answers to three prompts, and rewards that count letters."""

from __future__ import annotations

import numpy as np
from json_lines import write

from pluralign.core import OptionRewards
from pluralign.core.messages import dialogue

PROMPTS = ["Say a:", "Say b:", "Say c:"]


def answers(path, texts, prompts=PROMPTS, **more):
    """One row for each prompt and text."""
    rows = [{"prompt": p, "completion": t, "sample": i, **more} for p, own in zip(prompts, texts, strict=True)
            for i, t in enumerate(own)]  # fmt: skip
    return write(path, rows)


DRAWS = [["xy", "x", "", "yyy"], ["x", "x", "xxy", "y"], ["", "yy", "xxxyy", "xy"]]


class Scorer:
    """Counts a letter; "nan" gives none; after ``calls`` calls it is interrupted."""

    def __init__(self, spec, calls=None):
        self.name, self.calls, self.seen, self.counts = spec, calls, [], {}

    def render(self, messages, opens):
        return dialogue(messages, opens)

    def score_decisions(self, decisions):
        if self.calls is not None and len(self.seen) >= self.calls:
            raise KeyboardInterrupt
        known = list(decisions)
        self.seen.append(known)
        value = {"nan": lambda text: np.nan, "long": len}.get(self.name, lambda text: text.count(self.name))
        found = [np.array([float(value(option)) for option in d.options]) for d in known]
        return [OptionRewards(mean, np.zeros_like(mean)) for mean in found]
