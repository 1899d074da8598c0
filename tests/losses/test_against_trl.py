"""TRL's own trainers on a random model, against these losses on what the model says of each text alone."""

from functools import partial
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from pluralign.losses import bradley_terry, dpo, ipo, simpo

# Of many lengths, so that TRL has to pad.
PROMPTS = ["a b", "c", "d e f a"]
CHOSEN = [" b c d", " e", " f a"]
REJECTED = [" a", " f f e d", " b"]
MARGINS = [0.5, 0.0, -1.0]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "<unk>", *"abcdef"])}
    made = Tokenizer(WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def _model(kind: type[PreTrainedModel], seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=9, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        pad_token_id=0, eos_token_id=1, bos_token_id=None, initializer_range=0.5,
    )  # fmt: skip
    config.num_labels = 1
    return kind(config)


def _gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


def _rows_and_loss(trainer, model) -> tuple[list[dict[str, Any]], torch.Tensor]:
    """The rows as TRL made them, and its loss on all of them."""
    rows = list(trainer.train_dataset)
    return rows, trainer.compute_loss(model, trainer.data_collator(rows))


@pytest.mark.parametrize("margins", [None, MARGINS])
def test_bradley_terry_is_trl_s(tokenizer, tmp_path, margins):
    model = _model(LlamaForSequenceClassification, 0)
    texts = {"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}
    margin = {} if margins is None else {"margin": margins}
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=3,
            activation_checkpointing=False, disable_dropout=True,
        ),
        train_dataset=Dataset.from_dict(texts | margin), processing_class=tokenizer,
    )  # fmt: skip
    rows, theirs = _rows_and_loss(trainer, model)
    scores = {
        side: torch.cat([model(input_ids=torch.tensor([row[f"{side}_ids"]])).logits[:, 0] for row in rows])
        for side in ("chosen", "rejected")
    }
    margin = 0.0 if margins is None else torch.tensor(margins)
    ours = bradley_terry(scores["chosen"], scores["rejected"], margin).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(_gradients(ours, model), _gradients(theirs, model))


def _log_prob(model, prompt, completion):
    """log pi of a completion's tokens after its prompt, summed, of one text alone."""
    ids = torch.tensor([prompt + completion])
    steps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return steps.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum()


def _log_probs(model, rows, *, per_token):
    """log pi of the chosen and of the rejected completions, summed or meaned over their tokens."""
    return [
        torch.stack(
            [
                _log_prob(model, row["prompt_ids"], row[f"{side}_ids"])
                / (len(row[f"{side}_ids"]) if per_token else 1)
                for row in rows
            ]
        )
        for side in ("chosen", "rejected")
    ]


# TRL's IPO divides log-probabilities by the number of tokens; Azar et al.'s eq. 17 is of whole completions.
# TRL calls transformers by a name that transformers has since changed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("loss_type", "loss", "per_token"),
    [("sigmoid", partial(dpo, beta=0.3), False), ("ipo", partial(ipo, tau=0.3), True)],
)
def test_losses_with_a_reference_are_trl_s(tokenizer, tmp_path, loss_type, loss, per_token):
    policy, reference = _model(LlamaForCausalLM, 0), _model(LlamaForCausalLM, 1)
    trainer = DPOTrainer(
        model=policy, ref_model=reference,
        args=DPOConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=3,
            activation_checkpointing=False, disable_dropout=True, beta=0.3, loss_type=loss_type,
        ),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}),
        processing_class=tokenizer,
    )  # fmt: skip
    rows, theirs = _rows_and_loss(trainer, policy)
    columns = [_log_probs(model, rows, per_token=per_token) for model in (policy, reference)]
    ours = loss(*columns[0], *columns[1]).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(_gradients(ours, policy), _gradients(theirs, policy))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_simpo_is_trl_s(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    policy = _model(LlamaForCausalLM, 0)
    trainer = CPOTrainer(
        model=policy,
        args=CPOConfig(
            output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=3,
            gradient_checkpointing=False, disable_dropout=True, beta=0.3, loss_type="simpo", cpo_alpha=0.0,
            simpo_gamma=0.7,
        ),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS, "chosen": CHOSEN, "rejected": REJECTED}),
        processing_class=tokenizer,
    )  # fmt: skip
    data, theirs = _rows_and_loss(trainer, policy)
    # Prompt and completion as one text, with the prompt's tokens masked.
    rows = [
        {"prompt_ids": row["prompt_input_ids"]}
        | {f"{s}_ids": row[f"{s}_input_ids"][len(row["prompt_input_ids"]):] for s in ("chosen", "rejected")}
        for row in data
    ]  # fmt: skip
    ours = simpo(*_log_probs(policy, rows, per_token=True), beta=0.3, gamma=0.7).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(_gradients(ours, policy), _gradients(theirs, policy))
