from __future__ import annotations

import torch

from pluralign.vllm.lora_slots import add_empty_slot


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lora_a_stacked = (torch.ones(2, 1, 4, 3), torch.ones(2, 1, 4, 3))
        self.lora_b_stacked = (torch.ones(2, 1, 5, 4),)


class Other(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lora_a_stacked = torch.ones(2, 3)


def test_the_last_slot_is_empty():
    model = torch.nn.Sequential(Layer(), Other(), torch.nn.Linear(2, 2))
    add_empty_slot(model)
    for stacked in (*model[0].lora_a_stacked, *model[0].lora_b_stacked):
        assert len(stacked) == 3
        assert not stacked[-1].any()
        assert stacked[:2].all()
    assert len(model[1].lora_a_stacked) == 2
