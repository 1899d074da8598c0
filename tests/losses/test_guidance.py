"""Value-guided logits: the tilted distribution on the candidates."""

import math

import torch

from pluralign.losses.guidance import guided_logits


def test_golden_value():
    # On candidates 0 and 2: 1/2 exp(ln 3) against 1/4 exp(0): 6 to 1.
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    found = guided_logits(logits, torch.tensor([[0, 2]]), torch.tensor([[math.log(3), 0.0]]), 1.0)
    torch.testing.assert_close(found.softmax(-1), torch.tensor([[6 / 7, 0.0, 1 / 7]]))


def test_no_strength_and_equal_values_leave_the_model():
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(6).repeat(4, 1)
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(guided_logits(logits, ids, values, 0.0), logits)
    torch.testing.assert_close(guided_logits(logits, ids, torch.full((4, 6), 7.0), 3.0), logits)


def test_a_value_raises_its_candidate_alone():
    logits = torch.zeros(1, 4)
    found = guided_logits(logits, torch.tensor([[1, 3]]), torch.tensor([[1.0, 0.0]]), 2.0)
    torch.testing.assert_close(found, torch.tensor([[-math.inf, 1.0, -math.inf, -1.0]]))
