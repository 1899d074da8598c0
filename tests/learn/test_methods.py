"""The table of methods: every row leads to its function, its settings and its kind of folder."""

import inspect
import subprocess
import sys
from typing import get_args

import pytest

from pluralign import losses
from pluralign.folders.card import KINDS
from pluralign.learn.methods import METHODS, method_of, method_table

KIND = {
    "policy": "language_policy", "heads": "objective_heads", "reward model": "reward_model",
    "value model": "value_model", "option policy": "option_policy", "option reward": "option_reward",
    "weights": "prompt_weights",
}  # fmt: skip


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_a_row_leads_to_what_it_names(row):
    function = row.load()
    assert callable(function)
    assert KIND[row.result] in KINDS
    assert row.help
    assert row.source
    parameters = inspect.signature(function, eval_str=True).parameters
    # Settings of policy gradients are options of their verbs, which parse some of them.
    if row.name not in ("rl", "story-rl"):
        taken = get_args(parameters["config"].annotation)[0] if "config" in parameters else None
        assert row.load_settings() is taken
    if row.is_loss:
        assert getattr(losses, row.loss).__name__ == function.__name__ == row.loss
    elif row.name != "ensemble":
        assert function.__name__ == f"fit_{row.name.replace('-', '_')}"


def test_losses_know_their_methods():
    found = {name: method_of(name) for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    found.pop("label_expectation")
    assert set(found.values()) <= set(METHODS)
    assert METHODS["dpo"].implicit_reward
    assert not METHODS["ipo"].implicit_reward


def test_the_table_needs_no_torch_and_has_every_method():
    code = "import sys; from pluralign.learn.methods import method_table; print(method_table()); "
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == method_table()
    assert all(f"| `{name}` |" in method_table() for name in METHODS)
    assert "pl.fit_policy(loss=pl.losses.simpo, per_token=True, reference=False)" in method_table()
