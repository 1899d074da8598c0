"""Reward models: scores equal separate sequences', whatever shares the batch; folders, spans, export."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from pluralign.core import Decision, InputError
from pluralign.data.load import load_pairs
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.ava import AVAConfig, fit_ava_p
from pluralign.learn.texts.policies import fit_dpo
from pluralign.learn.texts.rewards import fit_bradley_terry, fit_preference_transformer
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.rewards.export import export_folder
from pluralign.rewards.heads import HeadShape, RewardHead, make_head
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward_model import RewardModel, RewardSettings, load_reward_model
from pluralign.rewards.tqr import TQRShape

DECISIONS = [
    Decision("Say a:", (" a!", " a and a good deal more of it.")),
    Decision("A much longer prompt than the others have, for padding:", (" b.", " bb.", " bbb.")),
    Decision("", (" no prompt at all", " none")),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    data = tmp_path_factory.mktemp("data") / "data.jsonl"
    rows = [f'{{"prompt": "Say {w}:", "chosen": " {w}!", "rejected": " {w}."}}' for w in "abcdefghijklmnop"]
    data.write_text("\n".join(rows))
    return load_pairs(data, "lively", split="train")


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    training = Training(epochs=1, learning_rate=1e-3, bf16=False)
    fit_bradley_terry(pairs, Run("tiny-random", folder / "bt", training))
    fit_preference_transformer(pairs, Run("tiny-random", folder / "pt", training))
    fit_ava_p(pairs, Run("tiny-random", folder / "ava", training))
    fit_dpo(pairs, Run("tiny-random", folder / "dpo", Training(epochs=1, lora_rank=4, bf16=False)))
    return folder


@pytest.mark.parametrize("method", ["bt", "pt", "ava"])
@pytest.mark.parametrize("budget", [1, 90, 100_000])
def test_neighbours_order_and_budget_change_no_score(trained, method, budget):
    model = load_reward_model(trained / method, token_budget=budget)
    together = model.score_decisions(DECISIONS)
    backwards = model.score_decisions(DECISIONS[::-1])[::-1]
    for decision, rewards, other in zip(DECISIONS, together, backwards, strict=True):
        for i, option in enumerate(decision.options):
            alone = model.score_decisions([Decision(decision.prompt, (option,))])[0]
            for found in (rewards, other):
                np.testing.assert_allclose(found.mean[i], alone.mean[0], atol=1e-5)
                np.testing.assert_allclose(found.sigma[i], alone.sigma[0], atol=1e-5)


def test_a_score_is_the_head_on_the_last_token_of_a_plain_sequence(trained):
    model = load_reward_model(trained / "bt")
    tokenizer, network = model.backbone.tokenizer, model.backbone.model
    for decision, rewards in zip(DECISIONS[:2], model.score_decisions(DECISIONS[:2]), strict=True):
        for option, reward in zip(decision.options, rewards.mean, strict=True):
            ids = tokenizer(decision.prompt + option)["input_ids"] + [tokenizer.eos_token_id]
            with torch.no_grad():
                hidden = network(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
                np.testing.assert_allclose(float(model.head.mean(hidden)), reward, atol=1e-5)


def test_what_is_too_long_is_cut_by_its_own_length_alone_and_counted():
    tokenizer = make_tiny_tokenizer()
    reader = CompletionReader(tokenizer, 12)
    short = reader.read("abcdefgh", ["xy"])
    assert short.trees[0].prompt_ids == tokenizer("abcdefgh")["input_ids"]
    both = reader.read("abcdefgh", ["xy", "uvwxyz", "0123456789abcdef"])
    assert [tokenizer.decode(tree.prompt_ids) for tree in both.trees] == ["abcdefgh", "defgh", "h"]
    assert tokenizer.decode(both.trees[2].branches[0]) == "0123456789a"
    assert both.trees[0].branches[0] == [*tokenizer("xy")["input_ids"], tokenizer.eos_token_id]
    assert dict(reader.counts) == {
        "completions": 4, "cut_prompts": 2, "cut_completions": 1, "cut_tokens": 3 + 7 + 6,
    }  # fmt: skip
    assert reader.read("a", ["<|im_end|>", "b<|im_end|>\n", ""]).trees[0].branches == [
        [2], [*tokenizer("b")["input_ids"], 2], [2],
    ]  # fmt: skip
    with pytest.raises(InputError, match="leaves no room"):
        CompletionReader(tokenizer, 1)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-text token"):
        CompletionReader(tokenizer, 12)


def test_tokens_and_sentences_add_up(trained):
    model = load_reward_model(trained / "ava")
    decision = Decision("Say:", (" One. Two!\n\nAnd three", " x"))
    rewards = model.score_decisions([decision])[0]
    for option, mean in zip(decision.options, rewards.mean, strict=True):
        tokens, sentences = model.tokens("Say:", option), model.sentences("Say:", option)
        assert "".join(token.text for token in tokens) == option
        assert "".join(sentence.text for sentence in sentences) == option
        assert np.mean([token.mean for token in tokens]) == pytest.approx(mean, abs=1e-5)
        assert sum(s.mean for s in sentences) == pytest.approx(sum(t.mean for t in tokens), abs=1e-5)
        assert sum(s.sigma**2 for s in sentences) == pytest.approx(sum(t.sigma**2 for t in tokens), rel=1e-5)
    assert [s.text for s in model.sentences("Say:", decision.options[0])][:2] == [" One.", " Two!"]
    named = " <|im_end|> is no end. But this"
    tokens, (first, second) = model.tokens("Say:", named), model.sentences("Say:", named)
    assert (first.text, second.text, second.start) == (" <|im_end|> is no end.", " But this", 22)
    assert first.mean == pytest.approx(sum(token.mean for token in tokens if token.start < 22), abs=1e-6)


@pytest.mark.parametrize("tuning", [{}, {"lora_rank": 4}, {"layers": 1}, {"layers": 0}])
def test_exported_classifiers_give_the_same_scores(pairs, tuning, tmp_path):
    training = Training(epochs=1, learning_rate=1e-3, bf16=False, **tuning)
    model = fit_bradley_terry(pairs, Run("tiny-random", tmp_path / "bt", training))
    assert export_folder(tmp_path / "bt", tmp_path / "out") == "sequence classifier"
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert classifier.config.pad_token_id == tokenizer.pad_token_id
    texts = [d.prompt + option + tokenizer.eos_token for d in DECISIONS for option in d.options]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    with torch.no_grad():
        logits = classifier(**batch).logits[:, 0].numpy()
    expected = np.concatenate([rewards.mean for rewards in model.score_decisions(DECISIONS)])
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_what_cannot_be_exported_is_refused(trained, tmp_path):
    for method in ("pt", "ava"):
        with pytest.raises(InputError, match="weights tokens by attention"):
            export_folder(trained / method, tmp_path / method)
        assert not (tmp_path / method).exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_folder(trained / "bt", tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_policies_are_exported_merged(trained, tmp_path):
    assert export_folder(trained / "dpo", tmp_path / "out") == "language model"
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = load_language_policy(trained / "dpo").model(ids).logits
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "shape", [{"pretrained_q": False}, {"alpha": 2.0}, {"literal_probabilities": True}], ids=str
)
def test_an_ava_whose_likelihood_is_not_the_models_own_is_no_policy(pairs, tmp_path, shape):
    config = AVAConfig(tqr=TQRShape(**shape))
    fit_ava_p(pairs, Run("tiny-random", tmp_path, Training(epochs=0.5, bf16=False)), config)
    assert load_reward_model(tmp_path).score_decisions(DECISIONS)
    with pytest.raises(InputError, match="no language policy"):
        load_language_policy(tmp_path)


def test_a_tilde_is_the_users_folder(trained, monkeypatch):
    monkeypatch.setenv("HOME", str(trained))
    assert load_reward("~/bt").score(["a"], ["b"]) == load_reward(trained / "bt").score(["a"], ["b"])
    assert load_reward("closed-form:~/dpo").score(["a"], ["b"]).shape == (1,)


def test_folders_of_other_things_and_damaged_ones_are_refused(trained, tmp_path):
    with pytest.raises(InputError, match="expected a reward model"):
        load_reward_model(trained / "dpo")
    with pytest.raises(InputError, match="no language policy"):
        load_language_policy(trained / "bt")
    with pytest.raises(InputError, match="no such folder"):
        load_reward_model(tmp_path / "none")
    with pytest.raises(InputError, match=r"no card\.json"):
        load_reward_model(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (trained / "bt").glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    load_reward_model(copy)
    head = copy / "head.safetensors"
    save_file({name: value + 1 for name, value in load_file(head).items()}, head)
    with pytest.raises(InputError, match="damaged"):
        load_reward_model(copy)
    head.unlink()
    with pytest.raises(InputError, match="missing"):
        load_reward_model(copy)
    card = json.loads((trained / "bt" / "card.json").read_text())
    card["backbone"]["fingerprint"] = "other"
    card["files"] = {}
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"does not list head"):
        load_reward_model(copy)


def test_heads_are_what_their_shape_says():
    for wrong in ({}, {"dimension": 4, "weighting": "odd"}, {"dimension": 4, "colour": 1}):
        with pytest.raises(InputError, match="is no description of a reward head"):
            make_head(wrong)
    shape = HeadShape(gaussian=True, weighting="bidirectional", mean_one=True, reduction="mean")
    head = RewardHead(32, shape)
    assert make_head(head.describe()).shape == shape


def test_settings_decide_how_messages_are_read(trained):
    loaded = load_reward_model(trained / "bt")
    messages = [{"role": "user", "content": "hi"}]
    assert loaded.render(messages, True) == "\n\nHuman: hi\n\nAssistant:"
    chat = RewardModel("x", loaded.backbone, loaded.head, RewardSettings(template="chat"))
    assert chat.render(messages, True).endswith("<|im_start|>assistant\n")
