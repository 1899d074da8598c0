"""Rows of different lengths on shelves: the same attention as each row alone, in bounded memory."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.lm import key_shelf
from pluralign.lm.pattern import Pattern, stored_scores
from pluralign.lm.row_attention import RowLayout

GROUPS, HEADS, WIDTH = 2, 4, 8
LAYERS = [SimpleNamespace(layer_idx=i) for i in range(2)]
PATTERNS = [Pattern(), Pattern(window=5), Pattern(chunk=6), Pattern(softcap=2.0, sinks=torch.ones(HEADS))]


class Rows:
    """Rows in a layout, and next to it the keys and values of each row by itself."""

    def __init__(self, pattern, seed, dtype=torch.float32, device="cpu"):
        self.layout, self.pattern, self.dtype, self.device = RowLayout(), pattern, dtype, device
        self.generator = torch.Generator().manual_seed(seed)
        self.alone = []

    def draw(self, *shape):
        return torch.randn(*shape, WIDTH, generator=self.generator).to(self.device, self.dtype)

    def append(self, lengths, prompts):
        total = sum(lengths)
        kept = {i: (self.draw(GROUPS, total), self.draw(GROUPS, total)) for i in range(len(LAYERS))}
        self.layout.append(kept, lengths, prompts)
        parts = [list(zip(*(one.split(lengths, 1) for one in pair), strict=True)) for pair in kept.values()]
        self.alone += [[list(parts[layer][i]) for layer in range(len(LAYERS))] for i in prompts]

    def select(self, rows):
        self.layout.select(rows)
        self.alone = [self.alone[i] for i in rows]

    def step(self, tolerance=1e-5):
        count = len(self.alone)
        positions = self.layout.begin(torch.device(self.device))
        assert positions[0].tolist() == [own[0][0].shape[1] for own in self.alone] == self.layout.lengths
        for layer, module in enumerate(LAYERS):
            query = self.draw(1, HEADS, count)
            key, value = self.draw(1, GROUPS, count), self.draw(1, GROUPS, count)
            found = self.layout.attend(module, query, key, value, None, self.pattern)
            for i, own in enumerate(self.alone):
                new = key[0, :, i : i + 1], value[0, :, i : i + 1]
                own[layer] = [torch.cat(both, 1) for both in zip(own[layer], new, strict=True)]
                keys, values = (one.repeat_interleave(HEADS // GROUPS, 0)[None] for one in own[layer])
                places = torch.arange(keys.shape[2], device=self.device)
                seen = self.pattern.sees(places[-1:, None], places[None])
                alone = self.pattern.attend(query[:, :, i : i + 1], keys, values, seen, None)
                torch.testing.assert_close(found[:, :, i : i + 1], alone, atol=tolerance, rtol=tolerance)
        self.layout.end()
        # The bound that the documentation states.
        held = sum(self.layout.lengths)
        assert self.layout.capacity <= 4 * held + 2 * key_shelf.SHORTEST * count


@pytest.mark.parametrize("pattern", PATTERNS)
@given(st.integers(0, 100_000))
@settings(max_examples=25, deadline=None)
def test_rows_on_shelves_see_what_each_row_sees_alone(pattern, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_shelf, "SHORTEST", 8)
        patch.setattr(key_shelf, "_STRIDE", 4)
        rows = Rows(pattern, seed)

        def pick(stop):
            return int(torch.randint(stop, (), generator=rows.generator))

        for _ in range(12):
            if pick(2) or not rows.alone:
                lengths = [1 + pick(3 ** (1 + pick(3))) for _ in range(1 + pick(3))]
                rows.append(lengths, [pick(len(lengths)) for _ in range(1 + pick(4))])
            for _ in range(pick(6)):
                rows.step()
            order = torch.randperm(len(rows.alone), generator=rows.generator).tolist()
            rows.select(order[pick(len(order) + 1) :])
        rows.select([])
        assert rows.layout.capacity == 0


def test_a_long_row_does_not_widen_the_short_ones():
    """A row of 8,192 tokens with 63 of 100: 64 slots of 8,192 would be 36 times what is held."""
    rows = Rows(Pattern(), 0)
    rows.append([8192, 100], [0] + [1] * 63)
    rows.step()
    held = 8193 + 63 * 101
    assert rows.layout.capacity < 1.2 * held
    # What the long row took is given back when it leaves, and what most rows took when most leave.
    rows.select(range(1, 64))
    assert rows.layout.capacity == 63 * 128
    rows.select([5])
    assert rows.layout.capacity == 128
    rows.step()


def test_a_row_moves_on_before_it_is_too_long_for_its_shelf():
    rows = Rows(Pattern(), 0)
    rows.append([254, 20], [0, 1])
    seen = []
    for _ in range(4):
        rows.step()
        seen.append(sorted(rows.layout._shelves))
    assert seen == [[256], [256], [256, 512], [256, 512]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_half_precision(dtype):
    rows = Rows(Pattern(window=40), 1, dtype)
    rows.append([300, 20, 30], [0, 1, 2])
    for _ in range(3):
        rows.step(3e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", [Pattern(), Pattern(window=5), Pattern(chunk=6)])
def test_rows_on_the_gpu(pattern, dtype):
    """Rows on two shelves, in another order than they came, one of which moves on to a longer shelf."""
    rows = Rows(pattern, 1, dtype, "cuda")
    rows.append([254, 20, 600], [0, 1, 2, 1])
    rows.select([3, 0, 2, 1])
    for _ in range(4):
        rows.step(1e-4 if dtype == torch.float32 else 3e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 7, 16, 31, 32])
def test_scores_of_the_first_keys_of_a_store_ignore_the_rest(dtype, count):
    generator = torch.Generator().manual_seed(0)
    store = torch.randn(5, 3, 32, 16, generator=generator).to(dtype)
    queries = torch.randn(5, 3, 2, 16, generator=generator).to(dtype)
    expected = queries @ store[..., :count, :].clone().transpose(-1, -2)
    # Memory that no key was written to may hold anything.
    store[..., count:, :] = float("nan")
    found = stored_scores(queries, store, count)
    assert found.shape == (5, 3, 2, count)
    torch.testing.assert_close(found, expected, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)
