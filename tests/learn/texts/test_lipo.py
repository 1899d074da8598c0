"""Listwise preference optimisation: DPO for lists of two, a planted order is learned, same weights after a
stop."""

import dataclasses
from functools import partial

import pytest
import torch
from planted import pairs
from safetensors.torch import load_file

from pluralign.core import InputError
from pluralign.data.examples import RankedCompletions
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.data import batches
from pluralign.learn.texts.lipo import LiPOConfig, ListPreferenceLoss, fit_lipo
from pluralign.learn.texts.policies import DPOConfig, PreferenceLoss, fit_dpo
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import ForestLoss
from pluralign.learn.texts.training_options import Training
from pluralign.losses.contrastive import dpo
from pluralign.losses.listwise import all_pairs_loss, lambda_loss, list_likelihood_loss

TRAINING = Training(epochs=2, learning_rate=3e-3, bf16=False)
ENDS = "!,;."
LEVELS = (1.0, 2 / 3, 1 / 3, 0.0)


def lists(count, seed=0, split="train", size=4):
    """The planted words with four ends, best first."""
    found = []
    for pair in pairs(count, seed, split):
        ((prompt, best), _) = pair.texts()
        texts = tuple(best[:-1] + end for end in ENDS)
        if size == 2:
            texts, levels = (texts[0], texts[-1]), (1.0, 0.0)
        else:
            levels = LEVELS
        found.append(RankedCompletions(prompt, texts, levels, "lively", split))
    return found


def weights_of(folder):
    return load_file(folder / "trunk.safetensors")


def same(one, other):
    return all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(one).items())


def test_pairs_of_lists_of_two_are_dpo(tmp_path):
    both = [[*rows(24), *rows(8, seed=2, split="validation")] for rows in (pairs, partial(lists, size=2))]
    run = Run("tiny-random", tmp_path / "dpo", TRAINING, seed=3)
    fit_dpo(both[0], run, DPOConfig(beta=0.2))
    again = dataclasses.replace(run, out=tmp_path / "lists")
    fit_lipo(both[1], again, LiPOConfig(beta=0.2), loss=all_pairs_loss)
    one, other = (load_card(tmp_path / name) for name in ("dpo", "lists"))
    # Gradients are summed in another order.
    curves = [[entry["loss"] for entry in card.figures["curve"]] for card in (one, other)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert one.figures["validation_accuracy"] == other.figures["validation_accuracy"]
    for name, value in weights_of(tmp_path / "dpo").items():
        torch.testing.assert_close(weights_of(tmp_path / "lists")[name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("loss", "factor"), [(lambda_loss, 0.5324558), (list_likelihood_loss, 1.0)])
def test_losses_of_lists_of_two_are_multiples_of_dpo(loss, factor, tmp_path):
    session = Session("dpo", Run("tiny-random", tmp_path, TRAINING), {}, pairs(6), vocabulary=True)
    known = -30 - 5 * torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([1.0, 0.0]).expand(6, 2)
    found = []
    for module in (
        PreferenceLoss(partial(dpo, beta=0.2), known),
        ListPreferenceLoss(loss, 0.2, known, levels),
    ):
        (batch,) = batches(session.data, range(6), 4096)
        value = module(session.trunk.model, session.trunk(batch), batch)
        weight = session.trunk.model.get_output_embeddings().weight
        found.append((value, torch.autograd.grad(value, weight)[0]))
    torch.testing.assert_close(found[1][0], factor * found[0][0])
    torch.testing.assert_close(found[1][1], factor * found[0][1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("loss", [lambda_loss, list_likelihood_loss, all_pairs_loss])
def test_a_planted_order_is_learned(loss, tmp_path):
    rows = [*lists(32), *lists(16, seed=1, split="validation")]
    settings = dataclasses.replace(TRAINING, epochs=5, lora_rank=8, learning_rate=1e-2)
    fit_lipo(rows, Run("tiny-random", tmp_path, settings), loss=loss)
    card = load_card(tmp_path)
    assert (card.method, card.objective) == ("lipo", "lively")
    assert card.config["loss"] == loss.__name__
    assert card.config["beta"] == 0.05
    assert (card.data["lists"], card.data["validation_lists"], card.data["identical_lists"]) == (32, 16, 0)
    # By chance half of the 96 pairs are in order.
    assert card.figures["validation_accuracy"] > 0.75
    assert load_language_policy(tmp_path).name == "lively"


def test_the_cut_into_forests_changes_no_step(tmp_path):
    curves = []
    for budget in (4096, 60):
        settings = dataclasses.replace(TRAINING, token_budget=budget, learning_rate=1e-3)
        fit_lipo(lists(16), Run("tiny-random", tmp_path / str(budget), settings))
        curves.append([entry["loss"] for entry in load_card(tmp_path / str(budget)).figures["curve"]])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


def test_interrupted_and_continued_ends_with_the_same_weights(tmp_path):
    fit_lipo(lists(24), Run("tiny-random", tmp_path / "whole", TRAINING))
    forwards = 0

    def dies(module, arguments, result):
        nonlocal forwards
        forwards += isinstance(module, ForestLoss)
        if forwards == 4:
            raise KeyboardInterrupt

    cut = Run("tiny-random", tmp_path / "cut", TRAINING)
    hook = torch.nn.modules.module.register_module_forward_hook(dies)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_lipo(lists(24), cut)
    finally:
        hook.remove()
    assert not (tmp_path / "cut" / "card.json").exists()
    fit_lipo(lists(24), cut)
    assert same(tmp_path / "whole", tmp_path / "cut")
    with pytest.raises(InputError, match="loss was 'lambda_loss', is 'all_pairs_loss'"):
        fit_lipo(lists(24), cut, loss=all_pairs_loss)
    other = [dataclasses.replace(row, levels=(1.0, 1.0, 0.0, 0.0)) for row in lists(24)]
    with pytest.raises(InputError, match="levels was"):
        fit_lipo(other, cut)


def test_lists_that_are_identical_when_read_are_left_out(tmp_path):
    # Beyond the limit the completions differ in their ends alone.
    long = RankedCompletions("Say:", ("a b c d e f g h" * 9 + "!", "a b c d e f g h" * 9 + "."), (1.0, 0.0))
    rows = [dataclasses.replace(row, objective="") for row in lists(4, size=2)]
    settings = dataclasses.replace(TRAINING, max_length=40, epochs=0.1)
    fit_lipo([long, *rows], Run("tiny-random", tmp_path, settings))
    card = load_card(tmp_path)
    assert (card.data["lists"], card.data["identical_lists"]) == (4, 1)
    with pytest.raises(InputError, match="in all 1 lists the completions are identical within 40 tokens"):
        fit_lipo([long], Run("tiny-random", tmp_path / "none", settings))


def sharp(scores, levels, *, beta=1.0):
    return all_pairs_loss(beta * scores, levels)


def test_settings_of_a_loss_are_not_those_of_the_method(tmp_path):
    run = Run("tiny-random", tmp_path, dataclasses.replace(TRAINING, epochs=0.1))
    fit_lipo(lists(8), run, loss=partial(sharp, beta=2.0))
    config = load_card(tmp_path).config
    assert (config["beta"], config["loss_settings"]["beta"]) == (0.05, 2.0)
    with pytest.raises(InputError, match=r"loss_settings\.beta was 2\.0, is 3\.0"):
        fit_lipo(lists(8), run, loss=partial(sharp, beta=3.0))


def test_refusals(tmp_path):
    run = Run("tiny-random", tmp_path / "x", TRAINING)
    for wrong in (pairs(4), [3], [None]):
        with pytest.raises(InputError, match="expected a ranked list, as rank_completions makes it"):
            fit_lipo(wrong, run)
    with pytest.raises(InputError, match="there is no training list"):
        fit_lipo(lists(4, split="validation"), run)
    with pytest.raises(InputError, match="lists of one length, found 2 and 4 completions"):
        fit_lipo([*lists(4), *lists(4, size=2)], run)
    with pytest.raises(InputError, match="lists of one objective"):
        fit_lipo([*lists(4), dataclasses.replace(lists(1)[0], objective="calm")], run)
    with pytest.raises(InputError, match="field 'beta'"):
        LiPOConfig(beta=0)
    losses = {
        "one loss for each of 5 lists": lambda scores, levels: scores.mean(),
        "does not depend on scores": lambda scores, levels: levels.sum(1),
        "is not finite": lambda scores, levels: scores.sum(1) / 0,
        "fails when called: ValueError: no": lambda scores, levels: _raise(),
        "expected a function of scores, levels": lambda scores: scores.sum(1),
    }
    for message, loss in losses.items():
        with pytest.raises(InputError, match=message):
            fit_lipo(lists(4), run, loss=loss)
    with pytest.raises(InputError, match="expected a pair or demonstration"):
        fit_dpo(lists(4), run)
    assert not run.out.exists()


def _raise():
    raise ValueError("no")
