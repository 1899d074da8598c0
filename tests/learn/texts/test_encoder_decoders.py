"""Learners on encoder-decoders: BART and T5 take the place of a causal model by name."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from pluralign.core import Decision, InputError
from pluralign.data.load import load_pairs
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.ava import fit_ava_p
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone, make_backbone
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel, RewardSettings


def make_tiny_seq2seq(architecture, seed=0):
    torch.manual_seed(seed)
    if architecture == "bart":
        config = BartConfig(
            vocab_size=259, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=256,
            dropout=0.0, init_std=0.2, pad_token_id=2, bos_token_id=1, eos_token_id=2,
            decoder_start_token_id=2, forced_eos_token_id=None,
        )  # fmt: skip
        model = BartForConditionalGeneration(config)
        model.final_logits_bias.normal_()
        return model.eval()
    tied = architecture == "t5"
    config = T5Config(
        vocab_size=259, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
        initializer_factor=1.0, pad_token_id=2, eos_token_id=2, decoder_start_token_id=0,
        tie_word_embeddings=tied, scale_decoder_outputs=tied,
        feed_forward_proj="relu" if tied else "gated-gelu",
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize("architecture", ["bart", "t5"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_learners_take_them(architecture, lora_rank, tmp_path):
    folder = tmp_path / "model"
    make_tiny_seq2seq(architecture).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    data = tmp_path / "data.jsonl"
    rows = [f'{{"prompt": "Say {w}:", "chosen": " {w}!", "rejected": " {w}."}}' for w in "abcdefghijklmnop"]
    data.write_text("\n".join(rows))
    pairs = load_pairs(data, "lively", split="train")
    training = Training(epochs=8, learning_rate=3e-3, lora_rank=lora_rank, bf16=False)
    learned = fit_bradley_terry(pairs, Run(str(folder), tmp_path / "bt", training))
    scores = learned.score_decisions([Decision("Say z:", (" z!", " z."))])[0].mean
    assert scores[0] > scores[1]
    fit_ava_p(pairs, Run(str(folder), tmp_path / "ava", training))
    policy = load_language_policy(tmp_path / "ava")
    assert policy.model.config.is_encoder_decoder
    assert load_backbone(str(folder)).model.config.is_encoder_decoder
    with pytest.raises(InputError, match="learn whole or through an adapter"):
        fit_bradley_terry(pairs, Run(str(folder), tmp_path / "cut", Training(layers=1)))


def test_rewards_of_a_cut_completion_belong_to_its_own_tokens():
    tokenizer = make_tiny_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    backbone = make_backbone(make_tiny_seq2seq("bart"), tokenizer, "bart")
    head = RewardHead(backbone.hidden_size, HeadShape())
    whole = RewardModel("whole", backbone, head).tokens("Hi", " abcdefgh")
    cut = RewardModel("cut", backbone, head, RewardSettings(max_length=9)).tokens("Hi", " abcdefgh")
    # The first token is the BOS, which has no text.
    assert "".join(token.text for token in whole) == " abcdefgh"
    assert [token.text for token in cut] == ["", *" abcdefgh"[: len(cut) - 1]]
