"""Forests and decoding in float16 and bfloat16: no mask or score overflows."""

import pytest
import torch
from adapters import adapted

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.forest import Tree, plant
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import branch_log_probs
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC
from pluralign.steer.requests import Request

HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
def test_forests_of_half_precision(dtype):
    trees = [Tree([5, 6, 7], [[8, 9], [10]]), Tree([], [[11, 12]]), Tree([3] * 30, [[4] * 20, [5] * 9])]
    found = {}
    for kind in (torch.float32, dtype):
        model = load_backbone("tiny-random", dtype=kind).model
        (forest,) = plant(trees)
        with torch.no_grad():
            found[kind] = branch_log_probs(model, forest_hidden_states(model, forest), forest)
    torch.testing.assert_close(found[dtype], found[torch.float32], atol=0.2, rtol=2e-2)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("power", [GEOMETRIC, ARITHMETIC])
def test_mixtures_of_half_precision(dtype, power, tmp_path):
    folders = {name: tmp_path / name for name in ("one", "two")}
    for seed, folder in enumerate(folders.values()):
        save_adapter(adapted(seed), folder)
    prompts, found = [[5, 6, 7, 8], [9] * 30], {}
    for kind in (torch.float32, dtype):
        rows = AdapterRows(load_backbone("tiny-random", dtype=kind), folders)
        entries = [(i, policy, ids) for i, ids in enumerate(prompts) for policy in (0, 1)]
        logits = [rows.admit(entries).logits()]
        logits += [rows.step({0: 20 + step, 1: 40 + step}).logits() for step in range(4)]
        found[kind] = torch.cat(logits).log_softmax(-1)
        rows.release({0, 1})
    torch.testing.assert_close(found[dtype], found[torch.float32], atol=0.2, rtol=5e-2)
    weights = SteeringWeights(one=0.5, two=0.5)
    asked = [Request(ids, weights, Decoding(6, 1.0, top_p=0.9)) for ids in prompts]
    assert len(MixtureDecoder(rows, power, prefill=16).generate(asked)) == 2
