"""The random states that code of one's own reads."""

import random

import numpy as np
import torch


def drawn():
    """What it would draw next from each of them, which stay as they are."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    found = random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    return found
