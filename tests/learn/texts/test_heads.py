"""Heads of several objectives on one model: DPO with one, no gradient of one in another, tied embeddings."""

import dataclasses
from functools import partial

import pytest
import torch

import pluralign as pl
from pluralign.core import InputError
from pluralign.core.digests import sha256
from pluralign.core.files import read_json, write_json
from pluralign.folders.card import load_card
from pluralign.folders.heads import HEADS, load_heads
from pluralign.folders.tensors import read_tensors, write_tensors
from pluralign.learn.texts.data import batches, encode_completion_pairs
from pluralign.learn.texts.heads import HeadsLoss, MAHDPOConfig, fit_mah_dpo
from pluralign.learn.texts.policies import PreferenceLoss
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.head_change import make_change
from pluralign.lm.tensors import seeded
from pluralign.lm.trunk import forest_hidden_states
from pluralign.losses import dpo

ROWS = [{"prompt": f"Say {i}:", "chosen": " yes, yes", "rejected": " no"} for i in range(12)]
TURNED = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in ROWS]
FROZEN = Training(learning_rate=1e-2, epochs=2, bf16=False)
JOINT = dataclasses.replace(FROZEN, lora_rank=2)
LOSS = partial(dpo, beta=0.1)


def data(*names):
    return {name: pl.load_pairs(TURNED if name == "no" else ROWS, name) for name in names}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A batch of pairs of two objectives, its states, and two heads that have changed."""
    backbone = load_backbone("tiny-random")
    reader = CompletionReader.for_model(backbone.model, backbone.tokenizer, 64)
    both = data("yes", "no")
    pairs = [pair for own in both.values() for pair in own if pair.split == "train"]
    rows = encode_completion_pairs(pairs, reader, several=True)
    with seeded(0):
        heads = [make_change(backbone.model, 4) for _ in both]
        for head in heads:
            torch.nn.init.normal_(head.up, std=0.1)
    (batch,) = batches(rows, range(len(rows)), 10**6)
    with torch.no_grad():
        states = forest_hidden_states(backbone.model, batch.forest)
    owners = torch.tensor([list(both).index(pairs[i].objective) for i in rows.kept])
    return backbone, batch, states, heads, owners


def heads_loss(heads, owners, reference, weights=None):
    return HeadsLoss(heads, owners, LOSS, reference, torch.ones(len(owners)) if weights is None else weights)


def test_one_head_without_a_change_has_the_loss_of_dpo_bit_for_bit(made):
    backbone, batch, states, _, owners = made
    reference = torch.randn(len(owners), 2, generator=torch.Generator().manual_seed(0))
    one = heads_loss([make_change(backbone.model, 4)], torch.zeros_like(owners), reference)
    assert torch.equal(
        one(backbone.model, states, batch), PreferenceLoss(LOSS, reference)(backbone.model, states, batch)
    )


def test_one_head_has_the_loss_of_dpo_with_the_changed_vocabulary_head(made):
    backbone, batch, states, heads, owners = made
    reference = torch.zeros(len(owners), 2)
    changed = load_backbone("tiny-random").model
    weight = changed.get_output_embeddings().weight
    changed.get_output_embeddings().weight = torch.nn.Parameter(weight + heads[0].up @ heads[0].down)
    found = heads_loss(heads[:1], torch.zeros_like(owners), reference)(backbone.model, states, batch)
    expected = PreferenceLoss(LOSS, reference)(changed, states, batch)
    plain = PreferenceLoss(LOSS, reference)(backbone.model, states, batch)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_an_adapter_of_the_vocabulary_head_has_the_same_log_probabilities_as_a_head(made):
    backbone, batch, states, heads, owners = made
    adapted = add_lora(load_backbone("tiny-random").model, 4, targets=["lm_head"])
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = (heads[0].down if "lora_A" in name else heads[0].up).detach().clone()
    reference = torch.zeros(len(owners), 2)
    loss = heads_loss(heads[:1], torch.zeros_like(owners), reference)
    assert torch.allclose(
        loss(backbone.model, states, batch),
        PreferenceLoss(LOSS, reference)(adapted, states, batch),
        atol=1e-6,
    )


def test_pairs_of_one_objective_have_no_gradient_in_the_other_head(made):
    backbone, batch, states, heads, owners = made
    only = (owners == 0).float()
    loss = heads_loss(heads, owners, torch.zeros(len(owners), 2), only)(backbone.model, states, batch)
    own = torch.autograd.grad(loss, list(heads[0].parameters()), retain_graph=True)
    other = torch.autograd.grad(loss, list(heads[1].parameters()))
    assert all(float(gradient.abs().max()) > 0 for gradient in own)
    assert all(float(gradient.abs().max()) == 0 for gradient in other)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Two heads, trained on a frozen trunk."""
    out = tmp_path_factory.mktemp("heads")
    return out / "both", fit_mah_dpo(data("yes", "no"), Run("tiny-random", out / "both", FROZEN))


def test_a_head_on_a_frozen_trunk_is_that_of_its_objective_trained_alone(learned):
    _, both = learned
    alone = fit_mah_dpo(data("no"), Run("tiny-random", None, FROZEN))
    assert torch.equal(alone.heads["no"].down, both.heads["no"].down)
    assert torch.allclose(alone.heads["no"].up, both.heads["no"].up, atol=1e-4)
    assert float(both.heads["yes"].up.abs().max()) > 1e-3


def test_a_name_of_a_control_token_is_text_beside_an_objective_with_a_chat_template():
    """A template quotes such names in its own objective's texts; the others' were read as the tokens."""
    said = [
        {
            "prompt": [{"role": "user", "content": f"Say {i}"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for i in range(12)
    ]
    named = [{**row, "chosen": " <|im_end|> is a token"} for row in ROWS]
    run = Run("tiny-random", None, FROZEN, template="chat")
    plain = pl.load_pairs(named, "named")
    other = pl.load_pairs(said, "said", template="chat", model="tiny-random")
    alone = fit_mah_dpo({"named": plain}, run)
    both = fit_mah_dpo({"said": other, "named": plain}, run)
    token = fit_mah_dpo({"named": plain}, dataclasses.replace(run, control_tokens=True))
    assert torch.allclose(both.heads["named"].up, alone.heads["named"].up, atol=1e-4)
    assert not torch.allclose(token.heads["named"].up, alone.heads["named"].up, atol=1e-3)


def test_a_frozen_trunk_and_its_embeddings_stay_as_they_are(learned):
    folder, both = learned
    before = load_backbone("tiny-random").model.state_dict()
    after = both.backbone.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {path.name for path in folder.iterdir()} == {"card.json", HEADS, "checkpoints"}


def test_joint_training_changes_the_trunk_by_an_adapter_and_no_embedding(tmp_path):
    run = Run("tiny-random", tmp_path / "out", JOINT)
    found = fit_mah_dpo(data("yes", "no"), run, MAHDPOConfig(trunk="joint", rank=2))
    model = found.backbone.model
    plain = load_backbone("tiny-random").model
    assert torch.equal(model.get_input_embeddings().weight, plain.get_input_embeddings().weight)
    assert any("lora_B" in name and bool((w != 0).any()) for name, w in model.named_parameters())
    assert found.heads["no"].up.shape[1] == 2
    # They are decoded on the adapted trunk.
    rows = pl.load_policies("tiny-random", tmp_path / "out", dtype="float32").rows
    logits = rows.admit([(0, rows.names.index("no"), [20, 30, 40])]).logits()
    with torch.no_grad():
        states = model(input_ids=torch.tensor([[20, 30, 40]]), output_hidden_states=True).hidden_states[-1]
        head = plain.get_output_embeddings().weight + found.heads["no"].up @ found.heads["no"].down
    assert torch.allclose(logits[0], states[0, -1] @ head.T, atol=1e-4)


def split(pairs):
    """The first of every three pairs for validation."""
    return {
        name: [
            dataclasses.replace(pair, split="train" if i % 3 else "validation") for i, pair in enumerate(own)
        ]
        for name, own in pairs.items()
    }


def fit(out, pairs, gradients="sum", **training):
    """Tensors of heads and adapter after joint training, and the figures of the card."""
    run = Run("tiny-random", out, dataclasses.replace(JOINT, **training))
    fit_mah_dpo(pairs, run, MAHDPOConfig(trunk="joint", rank=2, gradients=gradients))
    files = [HEADS, "adapter/adapter_model.safetensors"]
    return {k: v for file in files for k, v in read_tensors(out / file).items()}, load_card(out).figures


def test_weights_of_one_objectives_gradient_change_nothing(tmp_path):
    pairs = split(data("yes"))
    plain, _ = fit(tmp_path / "sum", pairs)
    for name in ("min_norm", "guided"):
        found, figures = fit(tmp_path / name, pairs, name)
        assert all(torch.equal(value, found[key]) for key, value in plain.items())
        assert figures["gradient_weight_yes"] == 1


def test_other_rows_to_follow_are_another_run(tmp_path):
    pairs = split(data("yes"))
    fit(tmp_path, pairs, "guided", epochs=0.1)
    fit(tmp_path, pairs, "guided", epochs=0.1)
    first, *others = pairs["yes"]
    turned = dataclasses.replace(first, chosen=first.rejected, rejected=first.chosen)
    with pytest.raises(InputError, match=r"config\.held_out was"):
        fit(tmp_path, {"yes": [turned, *others]}, "guided", epochs=0.1)


@pytest.mark.parametrize("name", ["min_norm", "guided"])
def test_weighed_gradients_do_not_depend_on_the_size_of_forests(name, tmp_path):
    pairs = split(data("yes", "no"))
    plain, _ = fit(tmp_path / "sum", pairs)
    found, figures = fit(tmp_path / "whole", pairs, name)
    parts, other = fit(tmp_path / "parts", pairs, name, token_budget=16, gradient_checkpointing=True)
    assert all(torch.allclose(value, parts[key], atol=2e-5) for key, value in found.items())
    assert not all(torch.allclose(value, found[key], atol=2e-4) for key, value in plain.items())
    assert figures["gradient_weight_yes"] + figures["gradient_weight_no"] == pytest.approx(1, abs=2e-4)
    assert other["gradient_weight_no"] == pytest.approx(figures["gradient_weight_no"], abs=1e-3)
    # What one objective chooses, the other one rejects.
    assert figures["gradient_conflicts"] > 0.5


def test_weighed_gradients_in_mixed_precision(tmp_path):
    pairs = split(data("yes", "no"))
    exact, figures = fit(tmp_path / "exact", pairs, "min_norm", epochs=0.5)
    mixed, other = fit(tmp_path / "mixed", pairs, "min_norm", epochs=0.5, bf16=True)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert other["gradient_weight_no"] == pytest.approx(figures["gradient_weight_no"], abs=0.1)
    assert not all(torch.equal(value, mixed[key]) for key, value in exact.items())


def test_validation_pairs_are_compared_with_the_model_before_training(tmp_path):
    pairs = split(data("yes", "no"))
    fit(tmp_path / "joint", pairs)
    fit_mah_dpo(pairs, Run("tiny-random", tmp_path / "frozen", FROZEN))
    joint, frozen = (
        read_tensors(tmp_path / one / "checkpoints" / "reference_validation.safetensors")["log_probs"]
        for one in ("joint", "frozen")
    )
    assert torch.allclose(joint, frozen, atol=1e-5)


def test_gradients_that_cannot_be_weighed_are_refused(tmp_path):
    with pytest.raises(InputError, match="must be one of sum, min_norm, guided"):
        MAHDPOConfig(trunk="joint", gradients="pcgrad")
    with pytest.raises(InputError, match="share nothing") as error:
        MAHDPOConfig(gradients="min_norm")
    assert error.value.field == "gradients"
    pairs = split(data("yes", "no"))
    pairs["no"] = [pair for pair in pairs["no"] if pair.split == "train"]
    with pytest.raises(InputError, match="there is none") as error:
        fit(tmp_path / "out", pairs, "guided")
    assert error.value.field == "no"


def test_the_heads_learn_opposite_objectives(learned):
    folder, _ = learned
    figures = load_card(folder).figures
    for name in ("yes", "no"):
        curve = figures[f"curve_{name}"]
        assert curve[-1]["loss"] < curve[0]["loss"]


@pytest.mark.parametrize(
    ("training", "config", "field"),
    [
        (JOINT, MAHDPOConfig(), "lora_rank"),
        (dataclasses.replace(FROZEN, layers=1), MAHDPOConfig(), "layers"),
        (FROZEN, MAHDPOConfig(trunk="joint"), "lora_rank"),
    ],
)
def test_training_options_that_do_not_match_the_trunk_are_refused(training, config, field, tmp_path):
    with pytest.raises(InputError) as error:
        fit_mah_dpo(data("yes"), Run("tiny-random", tmp_path / "out", training), config)
    assert error.value.field == field
    assert not (tmp_path / "out").exists()


def test_an_objective_without_training_pairs_is_refused(tmp_path):
    pairs = data("yes", "no")
    held_out = [dataclasses.replace(pair, split="validation") for pair in pairs["no"]]
    with pytest.raises(InputError, match="no training pair") as error:
        fit_mah_dpo({"yes": pairs["yes"], "no": held_out}, Run("tiny-random", tmp_path / "out", FROZEN))
    assert error.value.field == "no"


def test_heads_of_other_objectives_or_another_model_are_refused(learned, tmp_path):
    folder, _ = learned
    card = read_json(folder / "card.json")
    tensors = read_tensors(folder / HEADS)
    foreign = {name.replace("yes", "maybe"): value for name, value in tensors.items()}
    write_tensors(tmp_path / HEADS, foreign)
    write_json(tmp_path / "card.json", card)
    with pytest.raises(InputError, match="damaged"):
        load_heads(tmp_path)
    write_json(tmp_path / "card.json", {**card, "files": {HEADS: sha256(tmp_path / HEADS)}})
    with pytest.raises(InputError, match="card does not name: 'maybe"):
        load_heads(tmp_path)
    write_json(folder / "card.json", {**card, "backbone": {**card["backbone"], "fingerprint": "0" * 64}})
    with pytest.raises(InputError, match="trained on a different"):
        load_heads(folder)
    write_json(folder / "card.json", card)
