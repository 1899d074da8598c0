"""The estimate of training's memory, against tensors that a training really makes."""

import json
from contextlib import nullcontext
from dataclasses import asdict

import pytest
import torch
from transformers import LlamaConfig

from pluralign.cli import main
from pluralign.core import InputError
from pluralign.learn.texts.memory import estimate_memory
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import add_lora
from pluralign.lm.checkpointing import checkpointed_layers
from pluralign.lm.forest import Tree, plant
from pluralign.lm.memory_trace import MemoryTrace
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import branch_log_probs

SMALL = {"max_length": 128, "token_budget": 512, "bf16": False}


def _real(training):
    """Bytes at the peak of a pass over a full forest of the tiny model."""
    model = make_tiny_model()
    if training.lora_rank:
        model = add_lora(model, training.lora_rank)
    for value in model.parameters():
        value.grad = torch.zeros_like(value) if value.requires_grad else None
    branch = [5] * (training.max_length // 4)
    (forest,) = plant([Tree([5] * (training.max_length // 2), [branch, branch])] * 4, 1024)
    forest_hidden_states(model, forest)  # finds out that the model reads forests
    trace = MemoryTrace()
    with trace:
        with checkpointed_layers(model) if training.gradient_checkpointing else nullcontext():
            hidden = forest_hidden_states(model, forest)
        kept = trace.now
        loss = branch_log_probs(model, hidden, forest).sum()
        del hidden
        loss.backward()
    return kept, trace.peak


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 4])
def test_the_estimate_is_what_a_pass_takes(rank, checkpointing):
    training = Training(lora_rank=rank, gradient_checkpointing=checkpointing, **SMALL)
    found = estimate_memory("tiny-random", training)
    kept, peak = _real(training)
    assert found.activations == pytest.approx(kept, rel=0.05)
    assert found.activations + found.temporary == pytest.approx(peak, rel=0.05)
    total = found.weights + found.adapter + found.gradients + found.optimizer
    assert found.peak == total + found.activations + found.temporary


def test_what_is_held_is_counted_exactly():
    model = make_tiny_model()
    weights = sum(value.nbytes for value in model.parameters())
    full = estimate_memory("tiny-random", Training(**SMALL))
    assert (full.weights, full.adapter, full.gradients) == (weights, 0, weights)
    assert full.optimizer == 2 * weights
    adapter = sum(v.nbytes for n, v in add_lora(model, 4).named_parameters() if "lora" in n)
    half = estimate_memory("tiny-random", Training(lora_rank=4, dtype="bfloat16", **SMALL))
    assert (half.weights, half.adapter, half.gradients) == (weights // 2, adapter, adapter)
    heads = estimate_memory("tiny-random", Training(layers=0, **SMALL), reward=True)
    assert (heads.gradients, heads.logits < full.logits) == (0, True)


def test_4_bits_shards_and_checkpointing_take_less(tmp_path):
    # Only the configuration is there to be read.
    LlamaConfig(
        vocab_size=1000, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4
    ).save_pretrained(tmp_path)
    options = {"lora_rank": 4, "dtype": "bfloat16", **SMALL}
    plain = estimate_memory(tmp_path, Training(**options))
    assert estimate_memory(tmp_path, Training(**options, load_in="4bit")).weights < 0.6 * plain.weights
    less = estimate_memory(tmp_path, Training(**options, gradient_checkpointing=True))
    assert less.activations < 0.3 * plain.activations
    full = estimate_memory(tmp_path, Training(**SMALL))
    shared = estimate_memory(tmp_path, Training(**SMALL), shards=8)
    held = full.weights + full.gradients + full.optimizer
    assert shared.peak == max(
        held // 8 + shared.gathered + shared.activations + shared.temporary, shared.loading
    )


def test_the_estimate_is_that_of_a_backward_pass_where_gradients_are_switched_off():
    training = Training(lora_rank=4, **SMALL)
    expected = estimate_memory("tiny-random", training=training)
    with torch.no_grad():
        assert estimate_memory("tiny-random", training=training) == expected


def test_the_command_prints_a_table(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "models",
                "memory",
                "tiny-random",
                "--training.lora-rank",
                "4",
                "--json",
                str(tmp_path / "x.json"),
            ]
        )
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("weights", "activations", "logits", "peak"))
    assert json.loads((tmp_path / "x.json").read_text()) == asdict(
        estimate_memory("tiny-random", Training(lora_rank=4))
    )


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="field 'shards'"):
        estimate_memory("tiny-random", shards=0)
    with pytest.raises(InputError, match="no configuration"):
        estimate_memory(tmp_path)
    small = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba", **small}))
    with pytest.raises(InputError, match="mamba"):
        estimate_memory(tmp_path, Training(**SMALL))
