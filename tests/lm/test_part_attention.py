"""Prompts read in parts attend as those that are read at once."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.lm import path_attention
from pluralign.lm.forest import Tree, plant
from pluralign.lm.part_attention import PartLayout
from pluralign.lm.pattern import Pattern
from pluralign.lm.sample_attention import PromptLayout

LAYER = SimpleNamespace(layer_idx=0)


@pytest.mark.parametrize(
    "pattern", [Pattern(), Pattern(window=5), Pattern(chunk=6), Pattern(softcap=2.0, sinks=torch.ones(4))]
)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_parts_of_prompts_see_what_whole_prompts_see(pattern, lengths, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_attention, "_PART", 4)
        total = sum(lengths)
        q, k, v = torch.randn(3, 1, 4, total, 8, generator=torch.Generator().manual_seed(part)).unbind()
        k, v = k[:, :2], v[:, :2]
        (forest,) = plant([Tree([1] * (length - 1), [[1]]) for length in lengths], total)
        whole = PromptLayout(forest)
        expected = whole.attend(LAYER, q, k, v, None, pattern)
        parts, found = PartLayout(lengths, torch.device("cpu")), []
        for start in range(0, total, part):
            own = slice(start, min(total, start + part))
            positions = parts.begin(own.start, own.stop)
            assert torch.equal(positions, forest.position_ids[:, own])
            found.append(parts.attend(LAYER, q[:, :, own], k[:, :, own], v[:, :, own], None, pattern))
        torch.testing.assert_close(torch.cat(found, 2), expected, atol=1e-5, rtol=1e-5)
        for one, other in zip(parts.kept[0], whole.kept[0], strict=True):
            assert torch.equal(one, other)
