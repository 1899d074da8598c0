"""Trains on the toy chain; run by test_resume.py in a process of its own.

kill_and_resume.py JOBS

Runs each of a JSON list of jobs in a fork (which may kill itself: the imports take seconds, and so are done
once), and writes a JSON list of ``{"status", "forwards", "error"}``.
"""

import json
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from toy import Chain, OneHot

from pluralign.core import InputError
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.joint_cpl import fit_joint_cpl
from pluralign.learn.options.modules import BehaviourCloning, ContrastivePreference


def train(out, method, kill_at=0, seed=0):
    """Run one job; at forward pass number ``kill_at`` the process kills itself."""
    # Other random state in every process: what is learned must not depend on it.
    torch.manual_seed(os.getpid())
    forwards = 0

    def count(module, arguments, result):
        nonlocal forwards
        if isinstance(module, BehaviourCloning | ContrastivePreference):
            forwards += 1
            if forwards == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.nn.modules.module.register_module_forward_hook(count)
    chain = Chain()
    store = OneHot(chain)
    if method == "bc":
        rng = np.random.default_rng(0)
        trajectories = [chain.roll(rng, str(i)) for i in range(30)]
        fit_bc(trajectories, store=store, out=Path(out), config=BCConfig(60, 16, hidden=8), seed=seed)
    elif method == "joint":
        pairs = {"treasure": chain.pairs(90, 0), "other": Chain(1).pairs(90, 5)}
        for name, own in pairs.items():
            pairs[name] = [
                replace(pair, objective=name, split="train" if i % 4 else "validation")
                for i, pair in enumerate(own)
            ]
        config = CPLConfig(steps=60, batch_size=16, hidden=8)
        fit_joint_cpl(pairs, store=store, out=Path(out), config=config, gradients="guided", seed=seed)
    else:
        config = CPLConfig(steps=60, batch_size=16, hidden=8, kl=method == "cpl-kl")
        fit_cpl(chain.pairs(70, 0), store=store, out=Path(out), config=config, seed=seed)
    return forwards


def in_a_fork(job):
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        child = os.fork()
        if child == 0:
            result = {}
            try:
                result = {"forwards": train(**job)}
            except InputError as error:
                result = {"error": str(error)}
            except BaseException as error:
                result = {"crash": repr(error)}
            answer.write_text(json.dumps(result))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found = json.loads(answer.read_text()) if answer.exists() else {}
        return {"status": os.waitstatus_to_exitcode(status), **found}


if __name__ == "__main__":
    results = [in_a_fork(job) for job in json.loads(sys.argv[1])]
    print(json.dumps(results))
