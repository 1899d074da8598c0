"""Losses of weights that depend on the prompt."""

import numpy as np
import pytest
import torch

from pluralign.core import InputError
from pluralign.losses.suggestion import choice_weights_loss, label_weights_loss


def test_labels_are_softmax_of_the_chosen_rewards():
    # The paper's labels for rewards (1, 0) are (.7311, .2689): read from the gradient at equal weights.
    logits = torch.zeros(1, 2, requires_grad=True)
    label_weights_loss(logits, torch.tensor([[1.0, 0.0]])).sum().backward()
    np.testing.assert_allclose(0.5 - logits.grad[0], [0.7311, 0.2689], atol=1e-4)
    with pytest.raises(InputError, match="temperature"):
        label_weights_loss(logits, torch.zeros(1, 2), temperature=0)


def test_equal_weights_of_choices():
    loss = choice_weights_loss(
        torch.zeros(1, 2), torch.tensor([[2.0, -1.0]]), torch.tensor(np.log(3.0)).float()
    )
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1.5)))


def test_weights_of_choices_move_to_what_decided():
    logits = torch.zeros(1, 2, requires_grad=True)
    choice_weights_loss(logits, torch.tensor([[1.0, -1.0]]), torch.zeros(())).sum().backward()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
