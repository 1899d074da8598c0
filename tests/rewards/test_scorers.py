"""Classifiers, the closed form and ensembles as rewards; each by what a person writes."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_rewards import DECISIONS, classifier, demonstrations
from transformers import (
    AutoModelForSequenceClassification,
)

import pluralign as pl
from pluralign.core import Decision, InputError
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone, make_backbone
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.losses.adversarial import discriminator_loss
from pluralign.rewards.classifier import ClassifierReward
from pluralign.rewards.export import export_folder
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import load_closed_form, load_reward
from pluralign.rewards.reward_model import RewardSettings


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("labels", [1, 2])
def test_a_classifier_gives_what_transformers_gives(kind, labels):
    model, tokenizer = classifier(kind, labels)
    scorer = ClassifierReward(model, tokenizer, kind)
    found = scorer.score_decisions(DECISIONS)
    for decision, rewards in zip(DECISIONS, found, strict=True):
        assert rewards.sigma.tolist() == [0.0] * len(decision.options)
        for option, reward in zip(decision.options, rewards.mean, strict=True):
            told = tokenizer(decision.prompt, option, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**told).logits[0]
            expected = logits[0] if labels == 1 else logits[1] - logits[0]
            assert reward == pytest.approx(float(expected), abs=1e-5)
    assert scorer.counts["completions"] == 4
    assert scorer.score_decisions([]) == []


def test_a_classifiers_long_prompts_lose_their_beginnings():
    model, tokenizer = classifier("gpt2")
    model.config.n_positions = model.config.max_position_embeddings = 40
    scorer = ClassifierReward(model, tokenizer, "short")
    long = scorer.score_decisions([Decision("x" * 30 + "Say a:" * 6, (" a", " b" * 10))])[0]
    kept = scorer.score_decisions([Decision(("x" * 30 + "Say a:" * 6)[-38:], (" a",))])[0]
    assert long.mean[0] == pytest.approx(kept.mean[0], abs=1e-5)
    assert scorer.counts["cut_prompts"] == 2


def test_classifiers_of_many_classes_or_without_a_head_are_refused(tmp_path):
    with pytest.raises(InputError, match="3 classes"):
        ClassifierReward(*classifier("bert", 3), "many")
    backbone = load_backbone("tiny-random")
    backbone.model.save_pretrained(tmp_path / "lm")
    backbone.tokenizer.save_pretrained(tmp_path / "lm")
    with pytest.raises(InputError, match="no trained head"):
        load_reward(str(tmp_path / "lm"))
    model, tokenizer = classifier("gpt2")
    model.save_pretrained(tmp_path / "cut")
    tokenizer.save_pretrained(tmp_path / "cut")
    kept = load_file(tmp_path / "cut" / "model.safetensors")
    del kept["transformer.h.1.mlp.c_fc.weight"]
    save_file(kept, tmp_path / "cut" / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        InputError, match=r"such as transformer\.h\.1\.mlp\.c_fc\.weight, and would be random"
    ):
        load_reward(f"classifier:{tmp_path / 'cut'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no finished training"):
        load_reward(str(tmp_path / "empty"))


def test_what_was_exported_scores_as_before(made, tmp_path):
    export_folder(made / "rm0", tmp_path / "plain")
    assert isinstance(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").config.num_labels, int
    )
    before = load_reward(str(made / "rm0")).score_decisions(DECISIONS)
    for spec in (str(tmp_path / "plain"), f"classifier:{tmp_path / 'plain'}"):
        after = load_reward(spec).score_decisions(DECISIONS)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a.mean, b.mean, atol=1e-4)


@pytest.mark.parametrize("template", ["dialogue", "chat"])
def test_an_exported_classifier_reads_messages_and_lengths_as_it_was_trained(template, tmp_path):
    def spoken(role, text):
        return {"role": role, "content": text}

    rows = [
        {"prompt": [spoken("user", f"Say {w}")], "chosen": [spoken("assistant", f"{w}!")],
         "rejected": [spoken("assistant", f"{w}?")]}
        for w in "abcdefgh"
    ]  # fmt: skip
    pairs = pl.load_pairs(rows, "lively", template=template, model="tiny-random")
    training = pl.Training(epochs=2, learning_rate=3e-3, bf16=False, max_length=48)
    trained = pl.fit_reward(pairs, model="tiny-random", training=training, out=tmp_path / "rm")
    export_folder(tmp_path / "rm", tmp_path / "exported")
    found = load_reward(f"classifier:{tmp_path / 'exported'}")
    prompts = [[spoken("user", text)] for text in ("Say a", "Say b", "Say c" * 40)]
    answers = ["a!", "b?", "c!"]
    np.testing.assert_allclose(found.score(prompts, answers), trained.score(prompts, answers), atol=1e-4)
    assert found.template.name == template
    assert found.counts["cut_prompts"] == trained.counts["cut_prompts"] == 1


def log_prob(backbone, prompt, completion, ends):
    tokenizer = backbone.tokenizer
    before = tokenizer(prompt)["input_ids"]
    after = tokenizer(completion, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ends
    ids = torch.tensor([before + after])
    with torch.inference_mode():
        logs = backbone.model(ids).logits[0, len(before) - 1 : -1].log_softmax(-1)
    return float(logs.gather(1, torch.tensor(after)[:, None]).sum())


@pytest.mark.parametrize("ends", [False, True])
def test_the_closed_form_is_the_log_ratio(made, ends):
    from pluralign.folders.tuned import load_language_policy

    policy, reference = load_language_policy(made / "sft"), load_backbone("tiny-random", dtype=torch.float32)
    ratio = LikelihoodRatio(policy, reference, RewardSettings(), ends=ends)
    loaded = load_closed_form(made / "sft", ends=ends)
    for own, other in zip(ratio.score_decisions(DECISIONS), loaded.score_decisions(DECISIONS), strict=True):
        np.testing.assert_array_equal(own.mean, other.mean)
    for decision, rewards in zip(DECISIONS, ratio.score_decisions(DECISIONS), strict=True):
        for option, reward in zip(decision.options, rewards.mean, strict=True):
            expected = log_prob(policy, decision.prompt, option, ends) - log_prob(
                reference, decision.prompt, option, ends
            )
            assert reward == pytest.approx(expected, abs=1e-4)


def test_the_closed_form_reads_as_much_as_the_policys_training(tmp_path):
    training = Training(epochs=1, max_length=1500, bf16=False)
    fit_sft(demonstrations("!"), Run("tiny-random", tmp_path / "sft", training))
    scorer = load_reward(f"closed-form:{tmp_path / 'sft'}")
    (whole,) = scorer.score(["Say:"], [" a" * 700])
    assert scorer.counts["cut_completions"] == 0
    ratio = LikelihoodRatio(scorer.policy, scorer.reference, RewardSettings(max_length=4096))
    assert whole == pytest.approx(ratio.score(["Say:"], [" a" * 700])[0], abs=1e-4)


@pytest.mark.parametrize("ends", [False, True])
def test_the_closed_form_leaves_out_the_end_of_a_turn_as_well(ends):
    tokenizer = make_tiny_tokenizer()
    # As in Llama 3, turns do not end with the end of text.
    tokenizer.eos_token = "<|endoftext|>"
    policy, reference = (make_backbone(make_tiny_model(seed), tokenizer, "tiny-random") for seed in (0, 1))
    ratio = LikelihoodRatio(policy, reference, RewardSettings(template="chat"), ends=ends)
    asked = [{"role": "user", "content": "Hi"}]
    prompt, answer = ratio.render(asked, True), "Yes" + "<|im_end|>" * ends
    expected = log_prob(policy, prompt, answer, 0) - log_prob(reference, prompt, answer, 0)
    assert ratio.score([asked], ["Yes"])[0] == pytest.approx(expected, abs=1e-4)


def test_the_closed_form_by_name_prefers_what_sft_learned(made):
    scorer = load_reward(f"closed-form:{made / 'sft'}")
    known = [Decision(row.prompt, (row.completion, row.completion[:-1] + "?")) for row in demonstrations("!")]
    assert all(rewards.mean[0] > rewards.mean[1] for rewards in scorer.score_decisions(known))
    with pytest.raises(InputError, match="closed-form"):
        load_reward(str(made / "sft"))


def test_the_closed_form_is_the_optimal_discriminator():
    # Over all completions of a finite set, no logits tell the two models' samples apart better.
    generator = torch.Generator().manual_seed(0)
    policy, reference = (torch.randn(6, generator=generator).softmax(0) for _ in range(2))
    ratio = (policy / reference).log()
    best = discriminator_loss(ratio, ratio, policy, reference)
    for _ in range(50):
        other = ratio + 0.3 * torch.randn(6, generator=generator)
        assert discriminator_loss(other, other, policy, reference) > best
