"""TRL's RLOO trainer with our sampler and forests: TRL's own values and gradients, each prompt read once."""

import copy
import dataclasses
import random

import pytest
import torch
from architectures import make

from pluralign.learn.texts.adversarial import forest_trainer
from pluralign.learn.texts.adversarial.reinforce import reinforce
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_completions, draw_ids, stop_ids
from pluralign.lm.prompts import prompt_ids

PROMPTS = ["Say a:", "Say something long, and then:", "b"]


def rewarded(prompts, completions):
    return [float(len(text)) for text in completions]


def run(tmp_path, sampling, policy=None, **options):
    policy = policy or load_backbone("tiny-random", dtype=torch.float32)
    if options.get("lora_rank"):
        add_lora(policy.model, options["lora_rank"])
    training = Training(batch_size=12, learning_rate=1e-3, bf16=False, **options)
    reinforce(
        policy, PROMPTS, rewarded, training=training, samples=4, sampling=sampling, seed=0, folder=tmp_path
    )  # fmt: skip
    return policy


def test_the_callers_random_numbers_and_gradients_stay_as_they_were(tmp_path):
    run(tmp_path / "first", Decoding(4))  # libraries draw numbers while they are imported
    before = random.getstate(), torch.get_rng_state()
    with torch.no_grad():
        run(tmp_path / "second", Decoding(4))
        assert not torch.is_grad_enabled()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probabilities_and_gradients_are_those_of_trl(tmp_path, monkeypatch, temperature, checkpointing):
    from trl.trainer.rloo_trainer import RLOOTrainer

    theirs = RLOOTrainer._get_per_token_logps_and_entropies
    losses, gaps = RLOOTrainer._compute_loss, []

    def watched(self, model, inputs):
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        assert not inputs["prompt_mask"].all()
        assert len(inputs["completion_ids"]) == 12
        keep, found = inputs["completion_ids"].size(1), []
        weights = torch.randn(keep, generator=torch.Generator().manual_seed(1))
        parameter = next(p for p in self.model.parameters() if p.requires_grad)
        for function in (type(self)._get_per_token_logps_and_entropies, theirs):
            values = function(self, model, ids, mask, keep)[0] * inputs["completion_mask"]
            (gradient,) = torch.autograd.grad((values * weights).sum(), parameter)
            found.append((values.detach(), gradient))
        gaps.extend((one - other).abs().max().item() for one, other in zip(*found, strict=True))
        assert found[0][0].abs().max() > 1
        assert found[0][1].abs().max() > 0
        return losses(self, model, inputs)

    monkeypatch.setattr(RLOOTrainer, "_compute_loss", watched)
    run(tmp_path, Decoding(5, temperature), gradient_checkpointing=checkpointing)
    assert len(gaps) == 2
    assert max(gaps) < 1e-4


@pytest.mark.parametrize("name", ["mixtral", "gemma3_text", "jamba"])
def test_experts_windows_and_recurrent_layers(tmp_path, monkeypatch, name):
    """The values are those of each path alone, and a step changes the model."""
    policy = dataclasses.replace(load_backbone("tiny-random"), model=make(name).eval())
    before, found = copy.deepcopy(policy.model.state_dict()), []
    mapped = forest_trainer.padded_log_probs

    def watched(backbone, input_ids, mask, completion, temperature, token_budget):
        values = mapped(backbone, input_ids, mask, completion, temperature, token_budget)
        if not found:
            for ids, own, row in zip(input_ids, mask, values, strict=True):
                with torch.no_grad():
                    logits = backbone.model(input_ids=ids[own][None]).logits[0, :-1]
                paths = logits.log_softmax(-1).gather(1, ids[own][1:, None])[:, 0]
                kept = own[-completion:]
                found.append((row.detach()[kept] - paths[-int(kept.sum()) :]).abs().max().item())
        return values

    monkeypatch.setattr(forest_trainer, "padded_log_probs", watched)
    run(tmp_path, Decoding(20), policy)
    assert len(found) == 12
    assert max(found) < 1e-4
    assert any((before[key] != value).any() for key, value in policy.model.state_dict().items())


def test_equal_prompts_are_one_tree(tmp_path, monkeypatch):
    planted, mapped = [], forest_trainer.map_forests

    def watched(model, trees, *arguments, **settings):
        planted.append([len(tree.branches) for tree in trees])
        return mapped(model, trees, *arguments, **settings)

    monkeypatch.setattr(forest_trainer, "map_forests", watched)
    run(tmp_path, Decoding(3), lora_rank=2)
    # Before the step and in it.
    assert planted == [[4, 4, 4]] * 2


def test_token_ids_of_samples_end_where_their_texts_end():
    backbone = load_backbone("tiny-random")
    prompts, decoding = [prompt_ids(backbone.tokenizer, text) for text in PROMPTS], Decoding(200, 2.0)
    seeds = [[10 * i + j for j in range(20)] for i in range(3)]
    ids = draw_ids(backbone, prompts, seeds, decoding)
    stops, ended = set(stop_ids(backbone)), 0
    for own in ids:
        for one in own:
            assert not stops & set(one[:-1])
            assert len(one) == 200 or one[-1] in stops
            ended += one[-1] in stops
    assert ended > 0
    texts = draw_completions(backbone, prompts, seeds, decoding)
    assert texts == [[backbone.tokenizer.decode(one, skip_special_tokens=True) for one in own] for own in ids]
