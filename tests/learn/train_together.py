"""Trains on the toy chain; run by test_together.py alone, and in two processes that share each step's rows.

train_together.py METHOD OUT

Prints the probabilities that a policy has learned, as JSON.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from toy import Chain, OneHot

from pluralign.core import Objective
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.q import QConfig, fit_q

method, out = sys.argv[1:]
chain, rng = Chain(0), np.random.default_rng(0)
played = [chain.roll(rng, str(i)) for i in range(30)]
known = {"store": OneHot(chain), "out": out}
treasure, steps = Objective("treasure", "Treasure is found."), 8
if method == "bc":
    config = BCConfig(steps=steps, hidden=0, learning_rate=3e-2, batch_size=16, beta=0.3)
    learned = fit_bc(played, objective=treasure, config=config, **known)
elif method == "cpl":
    pairs = [
        replace(pair, rejected=replace(pair.rejected, steps=pair.rejected.steps[: 1 + i % 6]))
        for i, pair in enumerate(chain.pairs(40, 0))
    ]
    config = CPLConfig(steps=steps, hidden=0, learning_rate=3e-2, batch_size=8, bc_share=0.0, bc_weight=1.0)
    learned = fit_cpl(pairs, config=config, **known)
else:

    def with_rest(step):
        return replace(step, rewards={**step.rewards, "rest": -float(step.action)})

    paid = [replace(one, steps=tuple(map(with_rest, one.steps))) for one in played]
    config = QConfig(steps=steps, hidden=8, learning_rate=3e-2, batch_size=16, heads=2)
    learned = None
    fit_q(paid, objectives=[treasure, Objective("rest", "There is little effort.")], config=config, **known)
print(json.dumps([] if learned is None else chain.table(learned).tolist()))
