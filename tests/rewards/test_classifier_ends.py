"""Where classifiers of other people read a text, and what they do with texts that are too long."""

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from pluralign.core import Decision
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.rewards.classifier import ClassifierReward
from pluralign.rewards.open import load_reward

END = "<|im_end|>"


def _llama(pad, **settings):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, num_labels=1, pad_token_id=pad, bos_token_id=None,
        eos_token_id=2, initializer_range=0.2, **settings,
    )  # fmt: skip
    return LlamaForSequenceClassification(config).eval()


@pytest.mark.parametrize("pad", [0, 2, None])
def test_decoders_are_read_where_transformers_reads_them(pad, tmp_path):
    """In particular before the end of text where that is the padding."""
    model, tokenizer = _llama(pad), make_tiny_tokenizer()
    if pad != 0:
        tokenizer.pad_token = tokenizer.eos_token if pad == 2 else None
    model.save_pretrained(tmp_path / "c")
    tokenizer.save_pretrained(tmp_path / "c")
    texts = (" a", f" a{END}", f" a{END}{END}", END, "", f" a{END} b", " a much longer one than the others")
    for prompt in ("Say it:", f"Say it:{END}"):
        scorer = load_reward(f"classifier:{tmp_path / 'c'}")
        (found,) = scorer.score_decisions([Decision(prompt, texts)])
        for text, score in zip(texts, found.mean, strict=True):
            # A completion without a token is the end of text.
            ids = tokenizer(prompt + (text or END), return_tensors="pt")["input_ids"]
            with torch.no_grad():
                expected = float(model(ids).logits[0, 0])
            assert score == pytest.approx(expected, abs=1e-5), text


def test_encoder_decoders_whose_padding_is_their_end_of_text():
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=259, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        num_labels=1, pad_token_id=2, eos_token_id=2, bos_token_id=None, decoder_start_token_id=2,
    )  # fmt: skip
    model, tokenizer = BartForSequenceClassification(config).eval(), make_tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    texts = (f" a{END}", f" rather more{END}", f" a{END}")
    (found,) = ClassifierReward(model, tokenizer, "bart").score_decisions([Decision("Say:", texts)])
    for text, score in zip(texts, found.mean, strict=True):
        with torch.no_grad():
            expected = float(model(**tokenizer(f"Say:{text}", return_tensors="pt")).logits[0, 0])
        assert score == pytest.approx(expected, abs=1e-5)


def test_encoders_that_count_positions_from_behind_their_padding():
    """RoBERTa's table of 42 positions holds 40 tokens; completions that fill them lose their ends."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=259, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=42, num_labels=1, pad_token_id=1,
    )  # fmt: skip
    model, tokenizer = RobertaForSequenceClassification(config).eval(), make_tiny_tokenizer()
    tokenizer.pad_token = "<|im_start|>"
    scorer = ClassifierReward(model, tokenizer, "roberta")
    long, tail = "x" * 30 + "Say a:" * 6, ("x" * 30 + "Say a:" * 6)[-38:]
    found = scorer.score([long, tail, "a", "a"], [" a", " a", " b" * 30, (" b" * 30)[:39]])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert found[2] == pytest.approx(found[3], abs=1e-6)
    assert dict(scorer.counts) == {
        "completions": 4, "cut_prompts": 1, "cut_completions": 1, "cut_tokens": 66 - 38 + 60 - 39,
    }  # fmt: skip


def test_decoders_texts_that_fill_the_context():
    model, tokenizer = _llama(0), make_tiny_tokenizer()
    scorer = ClassifierReward(model, tokenizer, "llama")
    found = scorer.score(["x" * 99 + "Say:", "Say:", "", "z"], [" a", " b" * 60, " c" * 60, ""])
    assert np.isfinite(found).all()
    assert scorer.counts["cut_prompts"] == 2
    assert scorer.counts["cut_completions"] == 2
