"""Texts after prompts, read by tokenizers that put a space before the first word of a text."""

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import pluralign as pl
from pluralign.core import Decision
from pluralign.core.turns import completion_texts
from pluralign.lm.backbone import make_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.decisions import decision_tree, rendering_version
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.language_model import LanguageModel
from pluralign.lm.prompts import TEMPLATES, encode_with_places, prompt_ids
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.policies import Policies

WORDS = ("yes", "no", "say", "hi", "user", "assistant")
# Prompts of Zephyr's kind end with a line break, of Llama 2's with a word, of Phi-3's with a control token.
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
USER = [{"role": "user", "content": "say hi"}]
ANSWER = [{"role": "assistant", "content": "yes"}]
LONGER = [*ANSWER, {"role": "user", "content": "no"}, {"role": "assistant", "content": "hi no"}]


def sentencepieces(kind, template=None, special=()):
    """A tokenizer as SentencePiece's are converted: the space is normalised, or put before words."""
    vocabulary = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))])}
    merges = []
    for letter in ("▁", "\n", ":", *map(chr, range(ord("a"), ord("z") + 1))):
        vocabulary.setdefault(letter, len(vocabulary))
    for word in (*WORDS, "▁"):
        parts = [(word[:i], word[i]) for i in range(1, len(word))] + [("▁", word)]
        merges += [part for part in parts if part not in merges]
        for first, second in parts:
            vocabulary.setdefault(first + second, len(vocabulary))
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "prepend":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    strip = [] if kind == "never" else [decoders.Strip(" ", 1, 0)]
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    made.decoder = decoders.Sequence(steps)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = ("<unk>", "<s>", "</s>", *special)
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    return tokenizer


def bytes_with_space():
    tokenizer = make_tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=True, use_regex=False
    )
    return tokenizer


def ids_of(tokenizer, prompt, completion):
    (tree,) = CompletionReader(tokenizer, 999).read(prompt, [completion]).trees
    return [*tree.prompt_ids, *tree.branches[0]]


KINDS = ("prepend", "first", "always", "never")


@pytest.mark.parametrize("kind", [*KINDS, "bytes"])
@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("say:", " yes"), ("say:", "yes"), ("say hi\n", "yes no"), ("say\n", "  yes"), ("", "yes"), ("hi", "")],
)
def test_a_completion_is_read_as_in_one_text_with_its_prompt(kind, prompt, completion):
    tokenizer = bytes_with_space() if kind == "bytes" else sentencepieces(kind)
    whole = tokenizer(prompt + completion)["input_ids"]
    assert ids_of(tokenizer, prompt, completion) == [*whole, tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", [ZEPHYR, LLAMA2, PHI], ids=["zephyr", "llama 2", "phi"])
@pytest.mark.parametrize("completion", ["yes", ANSWER, LONGER], ids=["text", "message", "messages"])
def test_an_answer_is_read_as_in_the_templates_conversation(kind, template, completion):
    special = ("<|user|>", "<|assistant|>") if template == PHI else ()
    tokenizer = sentencepieces(kind, template, special)
    before, after = completion_texts(TEMPLATES["chat"](tokenizer), USER, completion)
    messages = [*USER, *(ANSWER if isinstance(completion, str) else completion)]
    whole = prompt_ids(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False)).ids
    found = ids_of(tokenizer, before, after)
    # Zephyr's template writes a line break after an answer, which models do not write.
    assert found == whole[: len(found)]
    assert found[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_control_tokens_are_quoted_after_prompts_too(kind):
    tokenizer = sentencepieces(kind)
    quote = TEMPLATES["dialogue"](tokenizer).quote_completion
    ids = ids_of(tokenizer, "say:", quote("yes<s>no"))
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[1:-1]) == "say:yes<s>no"
    ids, places = encode_with_places(tokenizer, quote(" yes<s>"), prompt_ids(tokenizer, "say:").ids)
    assert places[0] == (0, 4)
    assert tokenizer.convert_ids_to_tokens(ids)[0] == "▁yes"


def test_options_follow_their_decision_with_one_space():
    tokenizer = sentencepieces("prepend")
    tree = decision_tree(tokenizer, Decision("say", ("yes", "no")))
    assert [tokenizer.convert_ids_to_tokens(branch) for branch in tree.branches] == [["▁yes"], ["▁no"]]
    assert rendering_version(tokenizer) != rendering_version(sentencepieces("never"))


def small(kind, template=None):
    tokenizer = sentencepieces(kind, template)
    model = make_tiny_model()
    model.resize_token_embeddings(len(tokenizer))
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return make_backbone(model, tokenizer, "small")


def total(backbone, ids, start):
    with torch.inference_mode():
        logs = backbone.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(start, len(ids)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("completion", ["yes", " yes no"])
def test_the_likelihood_of_a_completion_is_that_of_the_text_with_its_prompt(kind, completion):
    backbone = small(kind)
    mix = Policies("small", AdapterRows(backbone, {"a": None}), ("a",), template="dialogue")
    (found,) = pl.log_likelihoods(mix, ["say:"], [completion], weights={"a": 1.0})
    ids = backbone.tokenizer("say:" + completion)["input_ids"]
    start = len(backbone.tokenizer("say:")["input_ids"])
    assert found == pytest.approx(total(backbone, ids, start), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_after_a_text_has_its_space(kind):
    backbone = small(kind)
    (yes,) = backbone.tokenizer.convert_tokens_to_ids(["▁yes"])
    bias = torch.zeros(len(backbone.tokenizer))
    bias[yes] = 1e4
    backbone.model.lm_head.bias = torch.nn.Parameter(bias)
    mix = Policies("small", AdapterRows(backbone, {"a": None}), ("a",), template="dialogue")
    assert mix.generate("say:", weights={"a": 1.0}, max_new_tokens=2) == " yes yes"
    assert draw_samples(backbone, ["say:"], 1, Decoding(2), seed=0, label="") == {"say:": [" yes yes"]}
    chat = [{"role": "user", "content": "say"}]
    assert mix.generate(chat, weights={"a": 1.0}, max_new_tokens=1) == "yes"


@pytest.mark.parametrize("kind", ["prepend", "first"])
def test_a_judges_answers_follow_its_template(kind):
    for template, token in ((ZEPHYR, "yes"), (LLAMA2, "▁yes")):
        backbone = small(kind, template)
        (found,) = LanguageModel(backbone).answer_log_probs(["say hi"], ["yes", "no"])
        before = prompt_ids(
            backbone.tokenizer,
            backbone.tokenizer.apply_chat_template(USER, tokenize=False, add_generation_prompt=True),
        ).ids
        ids = [*before, backbone.tokenizer.convert_tokens_to_ids(token)]
        assert found[0] == pytest.approx(total(backbone, ids, len(before)), abs=1e-4)
