"""Text to token ids: every path to a model gives a prompt exactly one BOS, whatever its template writes."""

import pytest
import torch
from tokenizers import processors
from transformers import GPT2Config, GPT2ForSequenceClassification

from pluralign.core import Decision, Demonstration, InputError
from pluralign.core.messages import dialogue
from pluralign.learn.texts.adversarial import samples as policy_samples
from pluralign.lm import generation, language_model
from pluralign.lm.backbone import make_backbone
from pluralign.lm.bos import bos_ids
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.decoding import Decoding
from pluralign.lm.language_model import LanguageModel
from pluralign.lm.prompts import (
    TEMPLATES,
    PromptIds,
    completion_ids,
    encode,
    fit_prompts,
    prompt_ids,
    quoted_prompt,
    render_chat,
)
from pluralign.lm.tiny import CHAT_TEMPLATE, make_tiny_model, make_tiny_tokenizer
from pluralign.rewards.classifier import ClassifierReward
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.policies import Policies

BOS, EOS = 0, 2
CHAT = [{"role": "user", "content": "hi"}]


def tokenizer_with_bos(template):
    """Like Llama 3 and Gemma: the tokenizer puts a BOS before every text; the template may write one, too."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", pair="<|endoftext|> $A $B", special_tokens=[("<|endoftext|>", BOS)]
    )
    tokenizer.chat_template = template
    return tokenizer


def classifier(tokenizer):
    torch.manual_seed(0)
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": BOS}
    sizes = {"vocab_size": len(tokenizer), "num_labels": 1, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2ForSequenceClassification(GPT2Config(**sizes, **ids)).eval()


TOKENIZERS = {
    "the template writes the BOS": lambda: tokenizer_with_bos("{{ bos_token }}" + CHAT_TEMPLATE),
    "the template writes none": lambda: tokenizer_with_bos(CHAT_TEMPLATE),
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    made = TOKENIZERS[request.param]()
    assert made("")["input_ids"] == [BOS] == bos_ids(made)
    return made


@pytest.fixture
def backbone(tokenizer):
    return make_backbone(make_tiny_model(), tokenizer, "tiny")


@pytest.fixture
def text(tokenizer):
    return TEMPLATES["chat"](tokenizer)(CHAT, True)


@pytest.fixture
def expected(tokenizer, text):
    return [BOS, *encode(tokenizer, text.removeprefix("<|endoftext|>"))]


def test_a_prompt_has_exactly_one_bos(tokenizer, text, expected):
    assert expected.count(BOS) == 1
    assert prompt_ids(tokenizer, text) == (expected, 1)
    assert prompt_ids(tokenizer, dialogue(CHAT, True)).ids.count(BOS) == 1
    assert prompt_ids(tokenizer, "<|endoftext|>") == prompt_ids(tokenizer, "") == ([BOS], 1)
    assert prompt_ids(make_tiny_tokenizer(), "ab") == (make_tiny_tokenizer()("ab")["input_ids"], 0)


def made_with(before, after, **names):
    """A tokenizer that puts these control tokens before and after every text."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [*before, *after]})
    for name, token in names.items():
        setattr(tokenizer, name, token)
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (*before, *after)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*before, "$A", *after]), special_tokens=ids
    )
    return tokenizer


def test_all_tokens_before_a_text_are_read_whether_or_not_it_has_them():
    tokenizer = made_with(["[gMASK]", "<sop>"], [])
    expected = tokenizer("ab")["input_ids"]
    assert prompt_ids(tokenizer, "ab") == prompt_ids(tokenizer, "[gMASK]<sop>ab") == (expected, 2)
    assert prompt_ids(tokenizer, quoted_prompt(tokenizer, "[gMASK]<sop>ab")) == (expected, 2)
    (tree,) = CompletionReader(tokenizer, 5).read("abcd", ["x"]).trees
    assert tree.prompt_ids == [*expected[:2], *encode(tokenizer, "d")]


def test_an_end_of_text_after_every_text_is_no_beginning():
    tokenizer = made_with([], ["<|im_end|>"], bos_token="<|im_end|>", eos_token="<|im_end|>")
    assert prompt_ids(tokenizer, "ab") == (encode(tokenizer, "ab"), 0)
    tokenizer = made_with(["<|endoftext|>"], ["<|im_end|>"], bos_token="<|endoftext|>")
    assert prompt_ids(tokenizer, "ab") == ([BOS, *encode(tokenizer, "ab")], 1)


def test_readers_of_completions_read_one_bos(tokenizer, text, expected):
    (tree,) = CompletionReader(tokenizer, 99).read(text, ["x"]).trees
    assert (tree.prompt_ids, tree.keep_first) == (expected, 1)


def test_classifiers_read_one_bos(tokenizer, text, expected):
    model = classifier(tokenizer)
    scorer = ClassifierReward(model, tokenizer, "classifier")
    found = scorer.score_decisions([Decision(text, (" yes",))])[0].mean[0]
    row = torch.tensor([[*expected, *encode(tokenizer, " yes")]])
    with torch.inference_mode():
        assert found == pytest.approx(float(model(row, attention_mask=torch.ones_like(row)).logits), abs=1e-5)


def test_an_exported_classifier_ends_completions_as_the_reward_model_did(tokenizer):
    reader = CompletionReader(tokenizer, 99)
    for completion in ("x", "x<|im_end|>", "x<|im_end|>\n", ""):
        (tree,) = reader.read("p", [completion]).trees
        assert tree.branches == [completion_ids(tokenizer, completion)]
        assert tree.branches[0].count(EOS) == 1
    model = classifier(tokenizer)
    scorer = ClassifierReward(model, tokenizer, "exported", closes=True)
    plain, closed = scorer.score_decisions([Decision("p", ("x", "x<|im_end|>\n"))])[0].mean
    assert plain == closed


def test_policies_draw_and_score_samples_after_one_bos(backbone, text, expected, monkeypatch):
    drawn = []

    def draw(policy, prompts, seeds, sampling):
        drawn.extend(prompts)
        return [["yes"] * len(own) for own in seeds]

    monkeypatch.setattr(generation, "draw_completions", draw)
    generation.draw_samples(backbone, [text], 2, Decoding(4), seed=0, label="")
    assert drawn == [(expected, 1)]
    (found,) = policy_samples.sample_log_probs(backbone, [(text, ["yes"])], Decoding(8), token_budget=99)
    after = completion_ids(backbone.tokenizer, "yes")
    with torch.inference_mode():
        logs = (
            backbone.model(torch.tensor([expected + after])).logits[0, len(expected) - 1 : -1].log_softmax(-1)
        )
    assert float(found) == pytest.approx(float(logs.gather(1, torch.tensor(after)[:, None]).sum()), abs=1e-4)
    (row,) = policy_samples.within_limits([Demonstration(text, "yes")], backbone.tokenizer, 99, 8)
    assert prompt_ids(backbone.tokenizer, row.prompt).ids == expected


def test_steered_chats_and_judges_read_one_bos(backbone, text, expected, monkeypatch):
    deployment = Policies("tiny", AdapterRows(backbone, {"a": None}), ("a",))
    assert deployment.chat_ids(CHAT) == deployment.text_ids(text) == expected
    assert render_chat(backbone.tokenizer, "hi") == text
    drawn = []

    def draw(policy, prompts, seeds, sampling, **more):
        drawn.extend(prompts)
        return [["yes"] for _ in prompts]

    monkeypatch.setattr(language_model, "draw_completions", draw)
    LanguageModel(backbone).generate(["hi"], max_new_tokens=4)
    assert drawn == [(expected, 1)]
    assert generation.draw_completions is not draw


def test_truncation_keeps_the_bos_and_the_end():
    prompt = PromptIds([BOS, 5, 6, 7], 1)
    assert prompt.truncated(3) == ([BOS, 6, 7], 1)
    assert prompt.truncated(9) == prompt
    assert fit_prompts([prompt, PromptIds([5, 6])], 6, 3) == ([[BOS, 6, 7], [5, 6]], 1)
    assert fit_prompts([prompt], None, 3) == ([prompt.ids], 0)
    with pytest.raises(InputError, match="less than the context of 4, found 3"):
        fit_prompts([prompt], 4, 3)
    with pytest.raises(InputError, match="row 1: a prompt has no token"):
        fit_prompts([PromptIds([])], 4, 3)
