"""The frozen part of a trunk: computed once, the same wherever it is read."""

import torch
from planted import pairs

from pluralign.learn.texts.data import encode_completion_pairs
from pluralign.learn.texts.trunk import LowerStates
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import plant
from pluralign.lm.layers import forest_layers


def test_states_are_the_forests_own_and_come_back_from_a_file(tmp_path, monkeypatch):
    backbone = load_backbone("tiny-random")
    trees = encode_completion_pairs(pairs(12), CompletionReader(backbone.tokenizer, 99)).trees
    lower = LowerStates(backbone, 1, token_budget=80)
    lower.compute(trees)
    lower.save(tmp_path / "states.safetensors")
    read = LowerStates(backbone, 1)
    read.read(tmp_path / "states.safetensors")

    def recomputed(*arguments, **settings):
        raise AssertionError("nothing should be computed again")

    monkeypatch.setattr("pluralign.learn.texts.trunk.forest_states", recomputed)
    for some in (trees[:1], trees[3:7], trees[::-1]):
        (forest,) = plant(some, 10_000)
        with torch.no_grad():
            (expected,) = forest_layers(backbone.model, forest, [-2])
        for known in (lower, read):
            torch.testing.assert_close(known.of(some), expected, atol=1e-5, rtol=1e-5)
