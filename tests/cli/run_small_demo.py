"""The demo, small: run_small_demo.py OUT STORY. Run by test_demo.py in processes of their own."""

import sys
from functools import partial
from pathlib import Path

import torch

from pluralign.collect import drrn_training
from pluralign.learn.options import bc
from pluralign.learn.options.bc import BCConfig
from pluralign.learn.options.cpl import CPLConfig
from pluralign.options.drrn import DRRNConfig
from pluralign.workflows import demo, main_job, retraining

torch.set_num_threads(1)
out, story = sys.argv[1:]
bc.fit_bc = partial(bc.fit_bc, config=BCConfig(steps=60))
main_job.cpl_config = retraining.cpl_config = lambda: CPLConfig(steps=60, learning_rate=0.01, batch_size=64)
drrn_training.train_drrn = partial(
    drrn_training.train_drrn, config=DRRNConfig(steps=400, warm_up=100, environments=4)
)
settings = main_job.JobSettings(
    story=story,
    model="tiny-random",
    episodes=60,
    comparisons=300,
    judged=8,
    play=30,
    weightings=4,
    retrained=4,
)
demo.run_job(main_job.MainJob(Path(out), settings))
