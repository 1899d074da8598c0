import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.lm.decoding import Decoding, TokenSampler, draw_tokens


def one_by_one(logits, decodings, uniforms):
    """Top-k and top-p row by row."""
    found = []
    for row, decoding, uniform in zip(logits, decodings, uniforms, strict=True):
        if decoding.temperature == 0:
            found.append(int(row.argmax()))
            continue
        scaled = row / max(torch.tensor(decoding.temperature), torch.tensor(1e-6))
        keep = scaled.argsort(descending=True, stable=True)[: decoding.top_k or None]
        if decoding.top_p < 1:
            before = scaled[keep].softmax(-1).double().cumsum(-1).roll(1)
            before[0] = 0.0
            keep = keep[before < decoding.top_p]
        kept = torch.full_like(scaled, -math.inf).index_copy(0, keep, scaled[keep])
        found.append(int(draw_tokens(kept[None], uniform[None], 1.0)))
    return found


@pytest.mark.parametrize("ties", [False, True])
@given(st.integers(0, 100_000))
@settings(max_examples=150, deadline=None)
def test_rows_sampled_together_get_the_tokens_of_rows_sampled_alone(ties, seed):
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    rows, tokens = pick(1, 3, 8), pick(2, 40, 700)
    logits = pick(0.1, 3.0, 50.0) * torch.randn(rows, tokens, generator=generator)
    if ties:
        logits = logits.round()
    logits[torch.rand(rows, tokens, generator=generator) < pick(0.0, 0.5)] = -math.inf
    logits[:, int(torch.randint(tokens, (), generator=generator))] = 1.0
    decodings = [
        Decoding(
            1, pick(0.0, 1e-9, 0.7, 1.0, 1e6), top_p=pick(1.0, 0.95, 0.5, 1e-9), top_k=pick(0, 1, 5, 10_000)
        )
        for _ in range(rows)
    ]
    uniforms = torch.rand(rows, dtype=torch.float64, generator=generator)
    before = logits.clone()
    found = TokenSampler(decodings, logits.device).choose(logits, uniforms)
    assert found.tolist() == one_by_one(logits, decodings, uniforms)
    assert torch.equal(logits, before)


def test_top_k_and_top_p_keep_the_likeliest():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    uniforms = torch.linspace(0, 1 - 1e-6, 200, dtype=torch.float64)

    def drawn(**options):
        sampler = TokenSampler([Decoding(1, 1.0, **options)] * 200, torch.device("cpu"))
        return set(sampler.choose(logits.expand(200, -1), uniforms).tolist())

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.5) == {0}
    assert drawn(top_p=0.81) == {0, 1, 2}
    assert drawn(top_p=0.01) == {0}
    assert drawn(top_k=3, top_p=0.9) == {0, 1, 2}
    sampler = TokenSampler([Decoding(1, 0.0), Decoding(1, 1.0)], torch.device("cpu"))
    assert sampler.choose(logits.expand(2, -1), uniforms[[-1, -1]]).tolist() == [0, 3]
