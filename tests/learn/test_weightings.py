"""The weighting that fits weights, targets, and a rule by which weights move."""

import pytest
import torch

import pluralign as pl
from pluralign.core.level import Level

NAMES = ("kind", "brief")


def make(*arguments, **options):
    return pl.learn.make_weighting(NAMES, *arguments, **options)


def test_each_way_has_its_weighting():
    weights = {"kind": 0.75, "brief": 0.25}
    fixed = make(weights)
    assert isinstance(fixed, pl.learn.Fixed)
    assert fixed.weights(["a", "b"]).tolist() == [[0.75, 0.25]] * 2
    assert make({"brief": 1.0}).weights(["a"]).tolist() == [[0.0, 1.0]]
    moved = make(weights, adapt="influence", rate=0.3)
    assert isinstance(moved, pl.learn.ByInfluence)
    assert moved.rate == 0.3
    assert isinstance(make(weights, adapt="hypervolume"), pl.learn.ByHypervolume)
    suggested = pl.learn.Suggested(lambda prompts: [weights] * len(prompts), NAMES)
    assert make(suggested) is suggested


def test_targets_are_numbers_or_texts():
    found = make(at_least={"kind": "+0.5sd"}, at_most={"brief": 3}, exactly=None, rate=0.2)
    assert isinstance(found, pl.learn.Constrained)
    assert [(one.name, one.level, one.kind) for one in found.constraints] == [
        ("kind", Level(0.5, relative=True), "at_least"), ("brief", Level(3.0), "at_most"),
    ]  # fmt: skip
    assert not found.maximises
    both = make({"kind": 1.0}, exactly={"brief": Level(1.0)})
    assert both.maximises
    assert torch.equal(both.weights(["a"])[0, :1], torch.tensor([1.0], dtype=torch.float64))


def test_what_does_not_go_together_is_refused():
    suggested = pl.learn.Suggested(lambda prompts: [], NAMES)
    for field, message, given, options in (
        ("weights", "give weights, or a target", None, {}),
        (
            "adapt",
            "move the weights themselves",
            {"kind": 1.0},
            {"at_least": {"kind": 1}, "adapt": "influence"},
        ),
        ("weights", "depend on the prompt", suggested, {"adapt": "hypervolume"}),
        ("weights", "depend on the prompt", suggested, {"at_most": {"kind": 1}}),
        ("at_most", "expected a number", None, {"at_most": {"kind": "high"}}),
    ):
        with pytest.raises(pl.InputError, match=message) as error:
            make(given, **options)
        assert error.value.field == field
    with pytest.raises(pl.InputError, match="fast"):
        make({"fast": 1.0})
