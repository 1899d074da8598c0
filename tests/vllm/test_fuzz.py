"""No group of a mixture is torn by vLLM's scheduler, and each thing that prevents it is needed."""

from __future__ import annotations

import importlib.util

import pytest
from vllm_fuzz import MODES, Hang, Run, fuzz, model_folder, prepare

from pluralign.vllm.scheduler import MixtureScheduling, TornGroup

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed (make test-vllm installs it)", allow_module_level=True)

# vLLM's own imports warn.
pytestmark = pytest.mark.filterwarnings("ignore")
SEEDS = range(12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("mode", MODES)
def test_no_group_is_torn(folder, mode):
    counts = fuzz(folder, SEEDS, mode)
    assert counts["groups"] > 100
    assert min(counts["held"], counts["gang_preemptions"], counts["stuck"]) > 0


def plain(name):
    from vllm.v1.core.sched.scheduler import Scheduler

    return getattr(Scheduler, name)


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("_reserve_prefill_lookahead", TornGroup),
        ("_make_room", TornGroup),
        ("_get_local_prefix_cache_hit", Hang),
        ("_release_stuck", Hang),
    ],
    ids=["barrier", "gang preemption", "cached prompts", "groups that block each other"],
)
def test_each_part_is_needed(folder, name, errors, monkeypatch):
    own = name in ("_make_room", "_release_stuck")
    monkeypatch.setattr(MixtureScheduling, name, (lambda self: False) if own else plain(name))
    prepare()
    failed = 0
    for seed in SEEDS:
        try:
            Run(folder, seed, "plain").run()
        except errors:
            failed += 1
    assert failed
