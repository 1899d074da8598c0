"""Trains a value model on planted rewards; killed at a forward pass if asked. Run by test_value.py.

train_values_and_die.py OUT [KILL_AT]
"""

import os
import signal
import sys
from pathlib import Path

import torch

from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import ForestLoss
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.value import HLGauss, ValueConfig, fit_value


def main(out, kill_at):
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
    rows = [ScoredCompletion(f"Say {i}:", "ab" * (i % 5), float(i % 5)) for i in range(48)]
    training = Training(epochs=2, learning_rate=3e-3, bf16=False, lora_rank=4)
    fit_value(rows, Run("tiny-random", Path(out), training), ValueConfig(classes=HLGauss(21)))
    print("forwards", forwards)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
