"""The cache of prompts' beginnings: what it finds, keeps and removes."""

import torch

from pluralign.lm.prefix_cache import BLOCK, PrefixCache


def keys(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: (
            torch.randn(2, length, 4, generator=generator),
            torch.randn(2, length, 3, generator=generator),
        )
        for layer in (0, 1)
    }


def found(cache, policy, ids):
    """Keys of layer 1 of the known beginning, in one piece."""
    blocks = cache.find(policy, ids)
    return torch.cat([block[1][0] for block in blocks], 1) if blocks else None


def test_whole_blocks_of_the_same_policy_are_found():
    cache = PrefixCache(100 * BLOCK)
    ids, own = list(range(3 * BLOCK + 5)), keys(3 * BLOCK + 5, 0)
    cache.add(1, ids, own)
    assert cache.tokens == 3 * BLOCK
    assert torch.equal(found(cache, 1, [*ids, 7, 7]), own[1][0][:, : 3 * BLOCK])
    assert cache.find(0, ids) == []
    # The last token is read, whatever is known.
    assert len(cache.find(1, ids[: 3 * BLOCK])) == 2
    assert len(cache.find(1, ids[: 3 * BLOCK + 1])) == 3
    other = [*ids[: BLOCK + 3], -1, *ids[BLOCK + 4 :]]
    assert torch.equal(found(cache, 1, other), own[1][0][:, :BLOCK])
    assert cache.find(1, [-1, *ids]) == []
    # What is known is not stored twice, and is a copy.
    cache.add(1, other, keys(len(other), 1))
    assert cache.tokens == 5 * BLOCK
    own[1][0].zero_()
    assert found(cache, 1, ids).abs().min() > 0


def test_the_least_recently_used_blocks_are_removed_and_beginnings_last():
    cache = PrefixCache(4 * BLOCK)
    one, two = [1] * (2 * BLOCK + 1), [2] * (2 * BLOCK + 1)
    cache.add(0, one, keys(len(one), 0))
    cache.add(0, two, keys(len(two), 1))
    cache.find(0, one)
    three = [3] * BLOCK
    cache.add(0, three, keys(BLOCK, 2))
    assert cache.tokens == 4 * BLOCK
    assert len(cache.find(0, one)) == 2
    # Of the prompt that was not used the second block went, which is of no use without the first.
    assert len(cache.find(0, two)) == 1
    # A prompt longer than the cache keeps what fits, and pushes out the rest.
    long = [4] * (9 * BLOCK)
    cache.add(0, long, keys(len(long), 3))
    assert cache.tokens == 4 * BLOCK
    assert len(cache.find(0, long)) == 4
    assert cache.find(0, one) == []
    assert cache._numbers.keys() == {block.key for block in cache._blocks.values()}
