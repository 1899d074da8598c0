"""Rewards trained on a few texts, and classifiers, with which several files test."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from pluralign.core import Decision, Demonstration
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.pair.recipes import pair_completions

DECISIONS = [
    Decision("Say a:", (" a!", " a and a good deal more of it.", " a")),
    Decision("A much longer prompt than the others have, for padding:", (" b.",)),
]
TRAINING = Training(epochs=3, learning_rate=3e-3, bf16=False)


def demonstrations(end):
    return [Demonstration(f"Say {w}{v}:", f" {w}{v}{end}") for w in "abcd" for v in "efgh"]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    pairs = pair_completions(demonstrations("!"), demonstrations("."), objective="lively")
    for seed in (0, 1):
        fit_bradley_terry(pairs, Run("tiny-random", folder / f"rm{seed}", TRAINING, seed))
    longer = Training(epochs=20, learning_rate=3e-3, bf16=False)
    fit_sft(demonstrations("!"), Run("tiny-random", folder / "sft", longer))
    return folder


def classifier(kind, labels=1):
    torch.manual_seed(0)
    tokenizer = make_tiny_tokenizer()
    size = {"vocab_size": len(tokenizer), "num_labels": labels, "pad_token_id": tokenizer.pad_token_id}
    if kind == "gpt2":
        ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
        model = GPT2ForSequenceClassification(GPT2Config(n_embd=32, n_layer=2, n_head=2, **size, **ids))
    else:
        model = BertForSequenceClassification(
            BertConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, **size
            )
        )
    return model.eval(), tokenizer
