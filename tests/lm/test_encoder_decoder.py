import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from pluralign.core import InputError
from pluralign.lm import encoder_decoder
from pluralign.lm.adapters import add_lora
from pluralign.lm.encoder_decoder import (
    check_encoder_decoder,
    decoder_start,
    encoder_decoder_hidden_states,
    finish_states,
    logits_bias,
)
from pluralign.lm.forest import Tree, plant

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
ARCHITECTURES = ["bart", "t5", "t5-v1.1"]
VOCABULARY = 259
EOS = 2


def make_tiny_seq2seq(seed=0, architecture="bart"):
    """Two layers of width 32 on either side, random weights, no dropout, in float32."""
    if architecture == "bart":
        sides = {
            f"{side}_{name}": value
            for side in ("encoder", "decoder")
            for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 64}.items()
        }
        # Padding is the end of text, as in many tokenizers that have none of their own.
        config = BartConfig(
            vocab_size=VOCABULARY, d_model=32, max_position_embeddings=128, init_std=0.2, dropout=0.0,
            bos_token_id=0, eos_token_id=EOS, pad_token_id=EOS, decoder_start_token_id=EOS, **sides,
        )  # fmt: skip
        kind = BartForConditionalGeneration
    else:
        gated = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        config = T5Config(
            vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
            eos_token_id=EOS, pad_token_id=0, decoder_start_token_id=0,
            **(gated if architecture == "t5-v1.1" else {}),
        )  # fmt: skip
        kind = T5ForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).eval()
        if architecture == "bart":
            model.final_logits_bias.normal_()
    return model


def _trees(seed=0, count=7):
    rng = np.random.default_rng(seed)

    def ids(low, high):
        # Tokens 0 and 2, which are paddings, too.
        return rng.integers(0, VOCABULARY, int(rng.integers(low, high))).tolist()

    return [Tree([*ids(0, 40), EOS], [ids(1, 12) for _ in range(rng.integers(1, 5))]) for _ in range(count)]


def _log_probs(model, hidden, forest):
    """What the vocabulary makes of states at the sources, as `lm.vocabulary` does."""
    logits = model.get_output_embeddings()(finish_states(model, hidden[forest.sources]))
    if (bias := logits_bias(model)) is not None:
        logits = logits + bias
    return logits.log_softmax(-1).gather(1, forest.input_ids[0, forest.places, None]).squeeze(1)


def _in_a_forest(model, trees, budget):
    """For each tree and branch: states at its tokens after the state at its source, log-probabilities."""
    forests = plant(trees, budget)
    found = {}
    for forest in forests:
        hidden = encoder_decoder_hidden_states(model, forest)
        log_probs = _log_probs(model, hidden, forest).split(forest.lengths.tolist())
        sources = forest.sources.split(forest.lengths.tolist())
        for owner, source, end, values in zip(
            forest.owners.tolist(), sources, forest.ends.tolist(), log_probs, strict=True
        ):
            found[tuple(owner)] = hidden[[*source.tolist(), end]], values
    return [[found[i, j] for j in range(len(tree.branches))] for i, tree in enumerate(trees)]


def _separately(model, prompt, branch):
    """The same of one unpadded sequence, with the model's own shift and loss."""
    output = model(torch.tensor([prompt]), labels=torch.tensor([branch]), output_hidden_states=True)
    values = output.logits[0].log_softmax(-1)[torch.arange(len(branch)), torch.tensor(branch)]
    torch.testing.assert_close(-values.mean(), output.loss)
    start = decoder_start(model)
    whole = model(
        torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *branch]]), output_hidden_states=True
    )
    return whole.decoder_hidden_states[-1][0], values


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("budget", [1, 64, 100_000])
def test_equals_separate_sequences(architecture, budget):
    model, trees = make_tiny_seq2seq(1, architecture), _trees()
    with torch.no_grad():
        for tree, rows in zip(trees, _in_a_forest(model, trees, budget), strict=True):
            for branch, row in zip(tree.branches, rows, strict=True):
                for found, expected in zip(row, _separately(model, tree.prompt_ids, branch), strict=True):
                    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_equal_those_of_separate_sequences(architecture):
    trees = _trees(3, 4)

    def gradients(pairs_of):
        model = make_tiny_seq2seq(1, architecture)
        pairs = pairs_of(model)
        sum(hidden.sin().sum() + values.sin().sum() for hidden, values in pairs).div(50).backward()
        return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

    together = gradients(lambda model: [pair for rows in _in_a_forest(model, trees, 200) for pair in rows])
    apart = gradients(
        lambda model: [_separately(model, tree.prompt_ids, b) for tree in trees for b in tree.branches]
    )
    assert together.keys() == apart.keys()
    assert any("encoder" in name for name in apart)
    for name, value in apart.items():
        torch.testing.assert_close(
            together[name], value, **TOLERANCE, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_shares_the_batch_changes_nothing(architecture):
    model, trees = make_tiny_seq2seq(1, architecture), _trees(5, 9)
    with torch.no_grad():
        alone = _in_a_forest(model, trees[4:5], 1000)[0]
        for order in (trees, trees[::-1]):
            together = _in_a_forest(model, order, 500)[order.index(trees[4])]
            for rows in zip(together, alone, strict=True):
                for found, expected in zip(*rows, strict=True):
                    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_row_holds_every_token_once(architecture):
    """By hand: a prompt of 3, branches of 2 and 1; then a prompt of 1 with one branch of 1."""
    model = make_tiny_seq2seq(1, architecture)
    (forest,) = plant([Tree([5, 6, EOS], [[7, 8], [9]]), Tree([EOS], [[7]])])
    start = decoder_start(model)

    def run(prompt, branch):
        output = model(torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *branch]]))
        states = model.get_decoder()(
            torch.tensor([[start, *branch]]), encoder_hidden_states=output.encoder_last_hidden_state
        )
        return output.encoder_last_hidden_state[0], states.last_hidden_state[0]

    with torch.no_grad():
        encoder, first = run([5, 6, EOS], [7, 8])
        _, second = run([5, 6, EOS], [9])
        _, other = run([EOS], [7])
        found = encoder_decoder_hidden_states(model, forest)
    torch.testing.assert_close(first[0], second[0], **TOLERANCE)
    expected = torch.cat([encoder[:2], first, second[1:], other])
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("architecture", ["bart", "t5"])
def test_the_encoder_sees_each_prompt_once(architecture, monkeypatch):
    model, trees = make_tiny_seq2seq(1, architecture), _trees(2, 30)
    (forest,) = plant(trees, 100_000)
    seen, decoded = [], []
    encoder, decoder = model.get_encoder(), model.get_decoder()
    encoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((kwargs["input_ids"], kwargs["attention_mask"])), with_kwargs=True
    )
    decoder.register_forward_pre_hook(
        lambda _, args, kwargs: decoded.append(kwargs["input_ids"]), with_kwargs=True
    )
    with torch.no_grad():
        encoder_decoder_hidden_states(model, forest)
    rows = [
        ids[mask.bool()].tolist() for batch, masks in seen for ids, mask in zip(batch, masks, strict=True)
    ]
    assert sorted(rows) == sorted(list(tree.prompt_ids) for tree in trees)
    assert sum(len(ids) for ids in decoded) == sum(len(tree.branches) for tree in trees)
    assert sum(ids.numel() for ids, _ in seen) <= 1.25 * sum(map(len, rows)) + 512


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 2000)), min_size=1, max_size=60))
def test_batches_hold_every_row_and_little_padding(sizes):
    batches = encoder_decoder._batches(torch.tensor(sizes))
    assert sorted(row for rows in batches for row in rows.tolist()) == list(range(len(sizes)))
    for rows in batches:
        own = torch.tensor(sizes)[rows]
        padded = int(own.amax(0).sum()) * len(own)
        assert len(own) == 1 or padded <= max(1.25 * int(own.sum()), 512)
        assert len(own) == 1 or padded <= 16_384


def test_an_adapter_takes_part():
    model = make_tiny_seq2seq(1)
    tree = Tree([5, 6, EOS], [[7, 8], [9]])
    (forest,) = plant([tree])
    plain = encoder_decoder_hidden_states(model, forest).detach()
    adapted = add_lora(model, rank=2)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.fill_(0.1)
    hidden = encoder_decoder_hidden_states(adapted, forest)
    assert (hidden - plain).abs().min(dim=1).values.gt(0).all()
    found = _log_probs(adapted, hidden, forest)
    with torch.no_grad():
        expected = [_separately(adapted, tree.prompt_ids, branch)[1] for branch in tree.branches]
    torch.testing.assert_close(found.detach(), torch.cat(expected), **TOLERANCE)
    found.sum().backward()
    learned = [(name, value) for name, value in adapted.named_parameters() if value.requires_grad]
    assert learned
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for _, value in learned)


def test_only_the_first_t5_scales_its_states():
    states = torch.ones(1, 32)
    for architecture, factor in {"bart": 1, "t5": 32**-0.5, "t5-v1.1": 1}.items():
        model = make_tiny_seq2seq(0, architecture)
        torch.testing.assert_close(finish_states(model, states), states * factor)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_with_logits_of_another_make_is_refused(architecture):
    model = make_tiny_seq2seq(1, architecture)
    check_encoder_decoder(model)
    check_encoder_decoder(make_tiny_seq2seq(1, architecture).to(torch.bfloat16))
    model.get_output_embeddings().register_forward_hook(
        lambda _, args, out: out * 1.01 if args[0].dim() == 3 else out
    )
    with pytest.raises(InputError, match="logits in an unknown way"):
        check_encoder_decoder(model)


def test_refuses_what_it_cannot_encode():
    model = make_tiny_seq2seq()
    (forest,) = plant([Tree([5], [[6]]), Tree([], [[7], [8]]), Tree([5], [[6]])])
    with pytest.raises(InputError, match="tree 1 of a forest has no prompt"):
        encoder_decoder_hidden_states(model, forest)
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    (forest,) = plant([Tree([5], [[6]])])
    with pytest.raises(InputError, match="'bart' names no decoder_start_token_id"):
        encoder_decoder_hidden_states(model, forest)
