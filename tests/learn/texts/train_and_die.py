"""Trains a learner on planted pairs; killed at a forward pass if asked. Run by test_whole_runs.py.

train_and_die.py METHOD OUT [KILL_AT] [KEY=VALUE of Training ...]
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from planted import LEARNERS, pairs

from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import ForestLoss
from pluralign.learn.texts.training_options import Training


def arguments():
    """METHOD, OUT, KILL_AT and the options of the training."""
    given = dict(part.split("=") for part in sys.argv[4:])
    return sys.argv[1], sys.argv[2], int(sys.argv[3]), {k: json.loads(v) for k, v in given.items()}


def main(method, out, kill_at, training):
    """Train; at forward pass number ``kill_at`` the process kills itself."""
    # Other random state in every process: what is learned must not depend on it.
    torch.manual_seed(os.getpid())
    forwards = 0

    def count(module, arguments, result):
        nonlocal forwards
        if isinstance(module, ForestLoss):
            forwards += 1
            if forwards == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.nn.modules.module.register_module_forward_hook(count)
    settings = {"epochs": 2, "learning_rate": 3e-3, "bf16": False, **training}
    LEARNERS[method](pairs(48), Run("tiny-random", Path(out), Training(**settings)))
    print("forwards", forwards)


if __name__ == "__main__":
    main(*arguments())
