"""Masks of forests without a dense mask: equal to those made from one, in a fraction of the memory."""

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from pluralign.lm import block_mask, forest, path_attention
from pluralign.lm.attention import ForestLayout
from pluralign.lm.block_mask import forest_block_mask, visible_blocks
from pluralign.lm.forest import Tree, plant
from pluralign.lm.pattern import Pattern

PATTERNS = [(None, None), (1, None), (7, None), (20, None), (None, 5), (None, 16)]


@st.composite
def trees(draw):
    lengths = st.integers(0, draw(st.sampled_from([3, 12, 60])))
    return [
        Tree([1] * draw(lengths), [[2] * (1 + n) for n in draw(st.lists(lengths, min_size=1, max_size=6))])
        for _ in range(draw(st.integers(1, 5)))
    ]


@pytest.mark.parametrize(("window", "chunk"), PATTERNS)
@given(trees(), st.sampled_from([4, 16, 128]))
@settings(max_examples=30, deadline=None)
def test_a_mask_from_boundaries_is_the_dense_one(window, chunk, planted, size):
    for one in plant(planted, 200):
        tokens = one.input_ids.shape[1]
        found = forest_block_mask(one, window, chunk, size)
        dense = create_block_mask(found.mask_mod, None, None, tokens, tokens, "cpu", BLOCK_SIZE=size)
        assert found.shape == dense.shape
        assert found.BLOCK_SIZE == dense.BLOCK_SIZE
        for name in (
            "kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices",
            "q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices",
        ):  # fmt: skip
            assert torch.equal(getattr(found, name), getattr(dense, name)), name


@pytest.mark.parametrize("chunk", [None, 8192])
def test_a_mask_of_100_000_tokens_takes_megabytes(chunk):
    (one,) = plant([Tree([1] * 60_000, [[2] * 10_000, [3] * 30_000])], 100_000)
    tracemalloc.start()
    some, whole = visible_blocks(one.spans, None, chunk, 128)
    # A dense mask would take 10 GB.
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    assert some.shape == (782, 782)
    assert 0 < whole.sum() < some.sum() <= 782 * 783 / 2
    assert not any(block.mask is not None for block in one.blocks)


@pytest.mark.parametrize("pattern", [Pattern(w, c) for w, c in PATTERNS] + [Pattern(7, softcap=2.0)])
@given(trees())
@settings(max_examples=20, deadline=None)
def test_long_paths_attend_in_parts_as_by_one_dense_mask(pattern, planted):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_attention, "_PART", 4)
        patch.setattr(forest, "_GROUP", 10)
        patch.setattr(forest, "_LONG", 8)
        for one in plant(planted, 200):
            tokens = one.input_ids.shape[1]
            q, k, v = torch.randn(3, 1, 2, tokens, 8, generator=torch.Generator().manual_seed(0)).unbind()
            places = torch.arange(tokens)
            mask = block_mask.forest_block_mask(one, pattern.window, pattern.chunk)
            seen = mask.mask_mod(None, None, places[:, None], places[None])
            found = ForestLayout(one).by_blocks(q, k, v, None, pattern)
            torch.testing.assert_close(found, pattern.attend(q, k, v, seen, None), atol=1e-5, rtol=1e-5)


def test_no_mask_of_a_long_prompt_is_squared():
    length, largest = 6000, []
    sees = path_attention.within

    def record(*arguments):
        largest.append(sees(*arguments))
        return largest[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_attention, "within", record)
        for planted in (Tree([1] * length, [[2]]), Tree([1] * length, [[2] * 600, [3] * 700, [4], [5]])):
            (one,) = plant([planted], 20_000)
            q = torch.randn(1, 1, one.input_ids.shape[1], 8)
            ForestLayout(one).by_blocks(q, q, q, None, Pattern(window=1000))
            largest += [block.mask for block in one.blocks if block.mask is not None]
    assert max(mask.numel() for mask in largest) <= 512 * (length + 512)


@pytest.mark.gpu
@pytest.mark.parametrize(("window", "chunk"), [(None, None), (300, None), (None, 256)])
def test_a_mask_on_the_gpu_is_the_dense_one(window, chunk):
    planted = [Tree([1] * 700, [[2] * 200, [3] * 5]), Tree([1] * 50, [[2] * 40] * 20)]
    (one,) = plant(planted, 4000)
    one = one.to("cuda")
    tokens = one.input_ids.shape[1]
    found = forest_block_mask(one, window, chunk)
    dense = create_block_mask(found.mask_mod, None, None, tokens, tokens, "cuda")
    assert torch.equal(found.to_dense(), dense.to_dense())
    assert torch.equal(found.full_kv_num_blocks, dense.full_kv_num_blocks)
