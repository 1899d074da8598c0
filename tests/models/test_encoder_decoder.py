"""Forests through BART and T5 against plain calls, one prompt and one completion at a time."""

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from pluralign.core import Decision, InputError
from pluralign.learn.completions import Run, Training, fit_ava_p, fit_bradley_terry
from pluralign.models.backbone import load_backbone
from pluralign.models.forest import Tree, by_tree, plant
from pluralign.models.tiny import make_tiny_tokenizer
from pluralign.models.trunk import forest_hidden_states, forest_layers
from pluralign.models.tuned import load_language_policy
from pluralign.models.vocabulary import branch_sum, token_log_probs
from pluralign.pair import load_preference_pairs

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
ARCHITECTURES = ["bart", "t5", "t5-untied"]


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


def _trees(seed=0, count=6):
    rng = np.random.default_rng(seed)

    def ids(low, high):
        return rng.integers(3, 259, int(rng.integers(low, high))).tolist()

    return [Tree(ids(1, 30), [ids(1, 10) for _ in range(rng.integers(1, 4))]) for _ in range(count)]


def _plainly(model, tree, branch):
    """Decoder states after each token, and each token's log-probability, by one plain call."""
    inputs = torch.tensor([[model.config.decoder_start_token_id, *branch]])
    out = model(torch.tensor([tree.prompt_ids]), decoder_input_ids=inputs, output_hidden_states=True)
    predictions = out.logits[0, :-1].log_softmax(-1)
    likelihoods = predictions[torch.arange(len(branch)), torch.tensor(branch)]
    return out.decoder_hidden_states[-1][0, 1:], likelihoods


def _in_forests(model, trees, budget):
    forests = plant(trees, budget)
    values = []
    for forest in forests:
        hidden = forest_hidden_states(model, forest)
        likelihoods = branch_sum(token_log_probs(model, hidden, forest), forest)
        values.append(torch.cat([hidden[forest.ends], likelihoods[:, None]], dim=1))
    return by_tree(trees, forests, values)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_equals_one_call_for_each_completion(architecture, budget):
    model, trees = make_tiny_seq2seq(architecture), _trees()
    with torch.no_grad():
        for tree, rows in zip(trees, _in_forests(model, trees, budget), strict=True):
            for branch, row in zip(tree.branches, rows, strict=True):
                states, likelihoods = _plainly(model, tree, branch)
                torch.testing.assert_close(row, torch.cat([states[-1], likelihoods.sum()[None]]), **TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_separate_calls(architecture):
    trees = _trees(3, 4)

    def gradients(value_of):
        model = make_tiny_seq2seq(architecture)
        (value_of(model) / 50).backward()
        return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

    together = gradients(lambda model: sum(rows.sin().sum() for rows in _in_forests(model, trees, 200)))
    apart = gradients(
        lambda model: sum(
            states[-1].sin().sum() + likelihoods.sum().sin()
            for tree in trees
            for states, likelihoods in (_plainly(model, tree, branch) for branch in tree.branches)
        )
    )
    assert together.keys() == apart.keys()
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_each_prompt_is_encoded_once(monkeypatch):
    model = make_tiny_seq2seq("bart")
    (forest,) = plant([Tree([5] * 9, [[6], [7, 8], [9]]), Tree([4] * 3, [[6, 6]])])
    shapes = []
    encoder = model.get_encoder()
    encoder.register_forward_pre_hook(
        lambda _m, _a, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    with torch.no_grad():
        forest_hidden_states(model, forest)
    assert shapes == [(2, 9)]


def test_refuses_what_it_cannot_do():
    model = make_tiny_seq2seq("t5")
    (forest,) = plant([Tree([], [[5]])])
    with pytest.raises(InputError, match="needs a prompt"):
        forest_hidden_states(model, forest)
    (forest,) = plant([Tree([3], [[5]])])
    with pytest.raises(InputError, match="one by one"):
        forest_layers(model, forest, [0])


@pytest.mark.parametrize("architecture", ["bart", "t5"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_learners_take_them(architecture, lora_rank, tmp_path):
    folder = tmp_path / "model"
    make_tiny_seq2seq(architecture).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    data = tmp_path / "data.jsonl"
    rows = [f'{{"prompt": "Say {w}:", "chosen": " {w}!", "rejected": " {w}."}}' for w in "abcdefghijklmnop"]
    data.write_text("\n".join(rows))
    pairs = load_preference_pairs(data, "lively", split="train").pairs
    training = Training(epochs=8, learning_rate=3e-3, lora_rank=lora_rank, bf16=False)
    learned = fit_bradley_terry(pairs, Run(str(folder), tmp_path / "bt", training))
    scores = learned.score([Decision("Say z:", (" z!", " z."))])[0].mean
    assert scores[0] > scores[1]
    fit_ava_p(pairs, Run(str(folder), tmp_path / "ava", training))
    policy = load_language_policy(tmp_path / "ava")
    assert policy.model.config.is_encoder_decoder
    assert load_backbone(str(folder)).model.config.is_encoder_decoder
    with pytest.raises(InputError, match="learn whole or through an adapter"):
        fit_bradley_terry(pairs, Run(str(folder), tmp_path / "cut", Training(layers=1)))
