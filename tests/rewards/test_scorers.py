"""Classifiers, the closed form and ensembles as rewards; each by what a person writes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import pluralign as pl
from pluralign.core import Decision, Demonstration, InputError, OptionRewards
from pluralign.core.files import write_json
from pluralign.evaluate.rewards.score_rows import score_rows
from pluralign.folders.card import Card
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone, make_backbone
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.losses.adversarial import discriminator_loss
from pluralign.pair.recipes import pair_completions
from pluralign.rewards.classifier import ClassifierReward
from pluralign.rewards.ensemble import (
    RewardEnsemble,
    Scale,
    lower_bound,
    mean_reward,
    measure_scales,
    minimum_reward,
    save_ensemble,
    scale_of,
)
from pluralign.rewards.export import export_folder
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import load_closed_form, load_reward, reward_identity
from pluralign.rewards.reward_model import RewardSettings, load_reward_model

DECISIONS = [
    Decision("Say a:", (" a!", " a and a good deal more of it.", " a")),
    Decision("A much longer prompt than the others have, for padding:", (" b.",)),
]
TRAINING = Training(epochs=3, learning_rate=3e-3, bf16=False)


def demonstrations(end):
    return [Demonstration(f"Say {w}{v}:", f" {w}{v}{end}") for w in "abcd" for v in "efgh"]


@pytest.fixture(scope="module")
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


class Fixed:
    def __init__(self, name, means, sigmas=None):
        self.counts = {"completions": 0}
        self.name, self._means = name, means
        self._sigmas = sigmas or dict.fromkeys(means, 0.0)

    def render(self, messages, opens):
        return self.name[:1] + messages[0]["content"]

    def score_decisions(self, decisions):
        return [
            OptionRewards(
                np.array([self._means[o] for o in d.options]), np.array([self._sigmas[o] for o in d.options])
            )
            for d in decisions
        ]


ONE = Fixed("first", {"a": 0.0, "b": 2.0, "c": 4.0}, {"a": 0.0, "b": 2.0, "c": 0.0})
TWO = Fixed("fourth", {"a": 30.0, "b": 20.0, "c": 10.0})
ALL = Decision("p", ("a", "b", "c"))


def test_members_are_brought_to_one_scale_and_combined():
    scales = [Scale(2.0, 2.0), Scale(20.0, 10.0)]
    # Standardised: (-1, 0, 1) and (1, 0, -1).
    for combine, expected in ((mean_reward, [0, 0, 0]), (minimum_reward, [-1, 0, -1])):
        found = RewardEnsemble([ONE, TWO], scales, combine).score_decisions([ALL])[0]
        np.testing.assert_allclose(found.mean, expected, atol=1e-12)
    found = RewardEnsemble([ONE, TWO], scales, lower_bound).score_decisions([ALL])[0]
    # Disagreement 1 at the ends; in the middle the first member's own sigma, 1, averaged over two: sqrt(1/2).
    np.testing.assert_allclose(found.sigma, [1, np.sqrt(0.5), 1])
    np.testing.assert_allclose(found.mean, [-1, -np.sqrt(0.5), -1])


def test_scales_are_those_within_prompts():
    found = measure_scales([ONE, TWO], [ALL, Decision("q", ("a", "a"))])
    assert found[0].mean == pytest.approx(6 / 5)
    assert found[0].deviation == pytest.approx(np.sqrt((4 + 4) / 5))
    alone = measure_scales([ONE], [Decision("p", ("a",)), Decision("q", ("c",))])
    assert alone == [Scale(2.0, 2.0)]
    with pytest.raises(InputError, match="the same reward"):
        measure_scales([ONE], [Decision("p", ("a", "a"))])
    with pytest.raises(InputError, match="the same reward"):
        scale_of([np.full(3, 0.1)], "constant")
    with pytest.raises(InputError, match="no completions"):
        measure_scales([ONE], [])


def test_an_ensemble_comes_back_from_its_folder_wherever_one_stands(made, tmp_path, monkeypatch):
    specs = [str(made / "rm0"), str(made / "rm1"), f"closed-form:{made / 'sft'}"]
    members = {spec: load_reward(spec) for spec in specs}
    scales = measure_scales(list(members.values()), DECISIONS)
    save_ensemble(made / "all", members, scales, "minimum", Card("ensemble"))
    expected = RewardEnsemble(list(members.values()), scales, minimum_reward).score_decisions(DECISIONS)
    monkeypatch.chdir(tmp_path)
    found = load_reward(str(made / "all"))
    for a, b in zip(expected, found.score_decisions(DECISIONS), strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
    assert found.render([{"role": "user", "content": "x"}], True).startswith("\n\nHuman")
    card = json.loads((made / "all" / "card.json").read_text())
    assert card["members"][0] == "../rm0"
    assert card["members"][2] == "closed-form:../sft"
    with pytest.raises(InputError, match="expected a reward model"):
        load_reward_model(made / "all")


def test_rewards_of_changed_weights_have_another_identity(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for member in ("rm0", "rm1"):
        shutil.copytree(made / member, member)
    members = {member: load_reward(member) for member in ("rm0", "rm1")}
    save_ensemble(tmp_path / "both", members, [Scale(0, 1)] * 2, "mean", Card("ensemble"))
    model, tokenizer = classifier("gpt2")
    model.save_pretrained("other")
    tokenizer.save_pretrained("other")
    before = [reward_identity("both"), reward_identity("classifier:other")]
    assert before == [reward_identity("both"), reward_identity("classifier:other")]
    shutil.rmtree("rm1")
    shutil.copytree(made / "rm0", "rm1")
    torch.nn.init.ones_(model.score.weight)
    model.save_pretrained("other")
    for old, spec in zip(before, ("both", "classifier:other"), strict=True):
        assert reward_identity(spec) != old


def test_rows_scored_by_other_members_are_not_continued(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for member in ("rm0", "rm1"):
        shutil.copytree(made / member, member)
    members = {member: load_reward(member) for member in ("rm0", "rm1")}
    save_ensemble(tmp_path / "both", members, [Scale(0, 1)] * 2, "mean", Card("ensemble"))
    rows = Path("rows")
    rows.mkdir()
    write_json(rows / "train.json", [{"prompt": f"Say {one}:", "completion": f" {one}!"} for one in "ab"])
    monkeypatch.setattr("pluralign.evaluate.rewards.score_rows._BATCH", 1)
    known = RewardEnsemble.score_decisions

    def score(out, interrupted=False):
        seen = []

        def once(self, decisions):
            seen.append(0)
            if interrupted and len(seen) > 1:
                raise KeyboardInterrupt
            return known(self, decisions)

        monkeypatch.setattr(RewardEnsemble, "score_decisions", once)
        score_rows("both", "rows", Path(out))
        return len(seen), Path(out).read_text()

    with pytest.raises(KeyboardInterrupt):
        score("a.jsonl", interrupted=True)
    shutil.rmtree("rm1")
    shutil.copytree(made / "rm0", "rm1")
    assert score("a.jsonl") == score("b.jsonl")
    with pytest.raises(KeyboardInterrupt):
        score("c.jsonl", interrupted=True)
    write_json(rows / "train.json", [{"prompt": f"Say {one}:", "completion": f" {one}?"} for one in "ab"])
    assert score("c.jsonl") == score("d.jsonl")
    with pytest.raises(KeyboardInterrupt):
        score("e.jsonl", interrupted=True)
    assert score("e.jsonl")[0] == 1


def test_ensembles_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="two members"):
        RewardEnsemble([ONE], [Scale(0, 1)])
    other = Fixed("second", {})
    with pytest.raises(InputError, match="different templates"):
        RewardEnsemble([ONE, other], [Scale(0, 1)] * 2).render([{"role": "user", "content": "x"}], True)
