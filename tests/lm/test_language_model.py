from collections import Counter

import numpy as np
import pytest
import torch

from pluralign.core import Decision, InputError
from pluralign.lm import map_forests
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.decisions import render_decision
from pluralign.lm.language_model import LanguageModel
from pluralign.lm.prompts import encode, render_chat
from pluralign.options.features import FeatureStore
from pluralign.options.language_policy import LanguageModelPolicy

DECISIONS = [
    Decision("You stand before a door.", ("Open it", "Walk away and never come back")),
    Decision("A wolf growls at you in the dark of the forest.", ("Run", "Fight", "Offer it meat")),
    Decision("One way only", ("Go",)),
]


@pytest.fixture(scope="module")
def model():
    return LanguageModel(make_tiny_backbone())


def _likelihood(backbone, prompt, continuation):
    prompt, continuation = encode(backbone.tokenizer, prompt), encode(backbone.tokenizer, continuation)
    with torch.no_grad():
        logits = backbone.model(torch.tensor([prompt + continuation])).logits[0].log_softmax(-1)
    rows = range(len(prompt) - 1, len(prompt) + len(continuation) - 1)
    return sum(float(logits[row, token]) for row, token in zip(rows, continuation, strict=True))


def test_option_likelihoods_are_those_of_separate_sequences(model):
    for decision, found in zip(DECISIONS, model.option_log_likelihoods(DECISIONS), strict=True):
        prompt, options = render_decision(decision)
        expected = [_likelihood(model.backbone, prompt, option) for option in options]
        np.testing.assert_allclose(found.log_likelihoods, expected, atol=1e-4)
        assert found.lengths.tolist() == [len(option.encode()) for option in options]
        np.testing.assert_allclose(found.per_token, found.log_likelihoods / found.lengths)


def test_likelihoods_of_replies_are_those_of_separate_sequences(model):
    for decision, found in zip(DECISIONS, model.reply_log_likelihoods(DECISIONS), strict=True):
        prompt = render_chat(model.backbone.tokenizer, decision.prompt)
        expected = [_likelihood(model.backbone, prompt, option) for option in decision.options]
        np.testing.assert_allclose(found.log_likelihoods, expected, atol=1e-4)
    letters = model.answer_log_probs(["Is it right?"], ["A", "Both"])
    (replies,) = model.reply_log_likelihoods([Decision("Is it right?", ("A", "Both"))])
    np.testing.assert_allclose(replies.log_likelihoods, letters[0], atol=1e-4)


def test_answer_log_probs(model):
    chats = ["Is it right?", [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Well?"}]]
    found = model.answer_log_probs(chats, ["A", "Both"])
    assert found.shape == (2, 2)
    for row, chat in zip(found, chats, strict=True):
        prompt = render_chat(model.backbone.tokenizer, chat)
        np.testing.assert_allclose(
            row, [_likelihood(model.backbone, prompt, a) for a in ("A", "Both")], atol=1e-4
        )
    assert model.answer_log_probs([], ["A"]).shape == (0, 1)
    with pytest.raises(InputError, match="answers"):
        model.answer_log_probs(chats, ["A", ""])


def test_questions_about_one_situation_are_read_together(model, monkeypatch):
    situation = "A convoy stands at the gate, and its clerk lays two ledgers on the sill. " * 4
    asked = [f"{situation}{n}" for n in ("Sign or not?", "Not or sign?", "Wait?")]
    chats = [asked[0], asked[1], "Something else altogether.", asked[2], asked[0], asked[0]]
    read: list[int] = []
    real = map_forests.plant

    def counted(*trees, **settings):
        for forest in real(*trees, **settings):
            read.append(forest.input_ids.shape[1])
            yield forest

    monkeypatch.setattr(map_forests, "plant", counted)
    found = model.answer_log_probs(chats, ["A", "B"])
    assert sum(read) < 3.5 * len(situation)
    for row, chat in zip(found, chats, strict=True):
        prompt = render_chat(model.backbone.tokenizer, chat)
        expected = [_likelihood(model.backbone, prompt, a) for a in ("A", "B")]
        np.testing.assert_allclose(row, expected, atol=1e-4)
        np.testing.assert_allclose(model.answer_log_probs([chat], ["A", "B"])[0], row, atol=1e-5)


def test_a_chat_that_fills_the_context_is_cut_whatever_else_is_asked(model):
    context = model.backbone.model.config.max_position_embeddings
    long = "x" * (2 * context)
    alone = model.answer_log_probs([long], ["A", "B"])
    beside = model.answer_log_probs([long + "y", long, "Short."], ["A", "B"])
    np.testing.assert_allclose(beside[1], alone[0], atol=1e-5)


def test_generation_does_not_depend_on_the_batch(model):
    chats = ["Hello", "A much longer question than the others, is it not?", "Hi", "Hello"]
    together = model.generate(chats, max_new_tokens=12, seed=3)
    small = LanguageModel(model.backbone, token_budget=1).generate(chats, max_new_tokens=12, seed=3)
    assert together == small
    assert model.generate(chats[1:2], max_new_tokens=12, seed=3) == together[1:2]
    assert model.generate(chats[::-1][1:], max_new_tokens=12, seed=3) == [
        together[2],
        together[1],
        together[0],
    ]
    assert together[0] != together[3], "equal chats of one call are separate samples"
    assert model.generate(chats, max_new_tokens=12, seed=4) != together
    assert model.generate(["Hello"], max_new_tokens=12, seed=[3]) == together[:1]


def test_greedy_generation_is_hugging_faces(model):
    backbone = model.backbone
    for chat in ("Hello", "Who goes there in the night?"):
        ids = torch.tensor([encode(backbone.tokenizer, render_chat(backbone.tokenizer, chat))])
        expected = backbone.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False
        )[0, ids.shape[1] :]
        expected = backbone.tokenizer.decode(expected, skip_special_tokens=True)
        both = model.generate(["another one, longer than it", chat], max_new_tokens=16, temperature=0.0)
        assert both[1] == expected


def test_sampling_follows_the_models_distribution(model):
    count, tokenizer = 600, model.backbone.tokenizer
    ids = torch.tensor([encode(tokenizer, render_chat(tokenizer, "x"))])
    with torch.no_grad():
        probabilities = model.backbone.model(ids).logits[0, -1].softmax(-1)
    # Several bytes may decode to one text (the replacement sign), so texts are compared.
    expected = Counter()
    for token, probability in enumerate(probabilities.tolist()):
        expected[tokenizer.decode([token], skip_special_tokens=True)] += probability
    found = Counter(model.generate(["x"] * count, max_new_tokens=1))
    for text, share in expected.most_common(5):
        assert abs(found[text] / count - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_generation_refuses_bad_arguments(model):
    for arguments in (
        {"max_new_tokens": 0},
        {"max_new_tokens": 1, "temperature": -1.0},
        {"max_new_tokens": 5000},
    ):
        with pytest.raises(InputError):
            model.generate(["x"], **arguments)
    with pytest.raises(InputError, match="seed"):
        model.generate(["x"], max_new_tokens=1, seed=[1, 2])


def test_policy_weighs_options_by_likelihood(model):
    (found,) = LanguageModelPolicy(model, temperature=0.5).log_probs(DECISIONS[1:2])
    (likelihoods,) = model.option_log_likelihoods(DECISIONS[1:2])
    weights = np.exp(likelihoods.per_token / 0.5)
    np.testing.assert_allclose(np.exp(found), weights / weights.sum(), rtol=1e-6)
    (plain,) = LanguageModelPolicy(model, length_normalised=False).log_probs(DECISIONS[1:2])
    assert plain.argmax() == likelihoods.log_likelihoods.argmax()


def test_policy_from_a_store_is_the_same(model):
    store = FeatureStore(model.backbone)
    for a, b in zip(
        LanguageModelPolicy(model, store).log_probs(DECISIONS),
        LanguageModelPolicy(model).log_probs(DECISIONS),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.exp(a).sum() == pytest.approx(1)
    with pytest.raises(InputError, match="has another model than"):
        LanguageModelPolicy(model, FeatureStore(make_tiny_backbone(1)))
    with pytest.raises(InputError, match="temperature"):
        LanguageModelPolicy(model, temperature=0.0)


@pytest.mark.slow
def test_smollm2_prefers_sense():
    model = LanguageModel(load_backbone("smollm2-135m"))
    found = model.answer_log_probs(["What is the capital of France? One word."], ["Paris", "Banana"])
    assert found[0, 0] > found[0, 1] + 3
    assert (
        "Paris" in model.generate(["What is the capital of France?"], max_new_tokens=16, temperature=0.0)[0]
    )
