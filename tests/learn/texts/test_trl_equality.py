"""What the learners train, on texts, is what TRL's trainers train: the same loss and the same gradients."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import LlamaForSequenceClassification
from trl.trainer.dpo_config import DPOConfig as TRLDPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from pluralign.data.load import load_pairs
from pluralign.learn.texts import session
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

# Of many lengths, so that TRL has to pad; the last one's completions begin alike.
TEXTS = {
    "prompt": ["Say yes:", "Q", "A longer prompt, of two sentences. It ends here:", "Count:"],
    "chosen": [" yes", " a long answer to it.", " good", " 1 2 3 4"],
    "rejected": [" no, never!", " no", " a bad one, and long", " 1 2 3 5"],
}
MARGINS = {"margin": [0.5, 0.0, -1.0, 2.0]}


class _Ready(Exception):
    """Raised where training would begin."""


@pytest.fixture
def forest_loss(tmp_path, monkeypatch):
    """What a learner would train on these texts: in one forest, or in several."""

    def stop(loss, phase):
        raise _Ready(loss)

    monkeypatch.setattr(session, "train_phase", stop)

    def make(fit, texts, token_budget, *config):
        path = tmp_path / "pairs.jsonl"
        columns = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
        path.write_text("\n".join(map(json.dumps, columns)))
        pairs = load_pairs(path, "good", split="train")
        training = Training(bf16=False, token_budget=token_budget)
        with pytest.raises(_Ready) as ready:
            fit(pairs, Run("tiny-random", tmp_path / "run", training), *config)
        loss = ready.value.args[0]
        # TRL's side is on the CPU.
        loss.trunk.model.cpu()
        return loss.cpu()

    return make


def _settings(folder):
    return {
        "output_dir": str(folder), "report_to": [], "use_cpu": True, "bf16": False,
        "per_device_train_batch_size": 4, "activation_checkpointing": False, "disable_dropout": True,
    }  # fmt: skip


def _loss_of(trainer, model):
    """TRL's, on all of its rows."""
    return trainer.compute_loss(model, trainer.data_collator(list(trainer.train_dataset)))


def _assert_same(ours, our_weights, theirs, their_weights):
    assert our_weights.keys() == their_weights.keys()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    expected = torch.autograd.grad(theirs, list(their_weights.values()))
    found = torch.autograd.grad(ours, [our_weights[name] for name in their_weights])
    for name, a, b in zip(their_weights, found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    assert any((gradient.abs() > 1e-2).any() for gradient in expected)


@pytest.mark.parametrize("token_budget", [4096, 60])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS | MARGINS])
def test_bradley_terry_is_trl_s(forest_loss, tmp_path, texts, token_budget):
    loss = forest_loss(fit_bradley_terry, texts, token_budget)
    head = loss.objective.head.mean.weight
    # A new head is almost 0: every reward would be 0, and every loss log 2.
    torch.nn.init.normal_(head, generator=torch.Generator().manual_seed(0))
    config = make_tiny_model().config
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(loss.trunk.model.model.state_dict())
    model.score.load_state_dict({"weight": head.detach()})
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**_settings(tmp_path)),
        train_dataset=Dataset.from_dict(texts),
        processing_class=make_tiny_tokenizer(),
    )
    ours = sum(loss(part)["loss"] for part in loss.parts(torch.arange(4)))
    assert abs(ours.item() - 0.6931) > 0.05
    weights = {**dict(loss.trunk.model.named_parameters()), "score.weight": head}
    _assert_same(ours, weights, _loss_of(trainer, model), dict(model.named_parameters()))


# TRL calls transformers by a name that transformers has since changed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("token_budget", [4096, 60])
def test_dpo_is_trl_s(forest_loss, tmp_path, token_budget):
    loss = forest_loss(fit_dpo, TEXTS, token_budget, DPOConfig(beta=0.3))
    # The reference is the model that the learner began with; the policy has moved on.
    policy = make_tiny_model(1)
    loss.trunk.model.load_state_dict(policy.state_dict())
    trainer = DPOTrainer(
        model=policy,
        ref_model=make_tiny_model(0),
        args=TRLDPOConfig(beta=0.3, **_settings(tmp_path)),
        train_dataset=Dataset.from_dict(TEXTS),
        processing_class=make_tiny_tokenizer(),
    )
    ours = sum(loss(part)["loss"] for part in loss.parts(torch.arange(4)))
    assert abs(ours.item() - 0.6931) > 0.05
    weights = dict(loss.trunk.model.named_parameters())
    _assert_same(ours, weights, _loss_of(trainer, policy), dict(policy.named_parameters()))
