"""Trains learners in two processes under FSDP2 or DeepSpeed, on CPUs; killed at a forward pass if asked.

Run by test_sharding.py.

shard_on_cpu.py OUT [KILL_AT]

accelerate shards on GPUs alone, so the processes (gloo) pretend to have some.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from accelerate import PartialState
from accelerate.utils import DistributedType
from train_and_die import main

from pluralign.learn import engine

RUNS = {
    "bradley-terry": {"token_budget": 60},
    "dpo": {"token_budget": 60, "lora_rank": 4, "gradient_checkpointing": True},
}
"""Options of the trainings, with several forests per step; processes have different numbers of forests."""

_init = PartialState.__init__


def _pretending(self, *args, **kwargs):
    _init(self, *args, **kwargs)
    deepspeed = "ACCELERATE_USE_DEEPSPEED" in os.environ
    self.distributed_type = DistributedType.DEEPSPEED if deepspeed else DistributedType.MULTI_GPU


if __name__ == "__main__":
    PartialState.__init__ = _pretending
    check = engine.sharding_engine
    engine.sharding_engine = lambda accelerators: check(accelerators=True)
    out, kill_at = Path(sys.argv[1]), int(sys.argv[2])
    for method, settings in RUNS.items():
        main(method, out / method, kill_at if method == "dpo" else 0, settings)
