"""Tokenizers that differ from their model's: next to adapters, or with tokens that the model lacks."""

import pytest
from peft_adapters import CONFIGS, lora, make_adapter, save_model
from transformers import AutoTokenizer

import pluralign as pl
from pluralign.core import InputError
from pluralign.lm.backbone import load_backbone, load_tokenizer
from pluralign.lm.prompts import render_chat
from pluralign.steer.writers import open_writer

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
OTHER = (
    "{% for m in messages %}### {{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:{% endif %}"
)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
def made(tmp_path):
    model = save_model(CONFIGS["tied"], tmp_path / "model")
    make_adapter(model, lora(["q_proj"]), tmp_path / "adapter")
    return model, tmp_path / "adapter"


def write_tokenizer(model, folder, template=None, tokens=(), eos=None):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.chat_template = template or tokenizer.chat_template
    tokenizer.eos_token = eos or tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def test_an_adapter_that_is_given_as_the_model_has_its_own_tokenizer(made):
    model, adapter = made
    write_tokenizer(model, adapter, OTHER)
    tokenizers = load_backbone(str(adapter)).tokenizer, load_tokenizer(str(adapter))
    assert [render_chat(one, CHAT) for one in tokenizers] == ["### user: hi\n### assistant:"] * 2


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({}, ""),
        ({"template": OTHER}, "another chat template"),
        ({"eos": "<|endoftext|>"}, "another end of text, '<|endoftext|>'"),
        ({"tokens": ["<tool>"]}, "tokens that the model lacks, such as '<tool>'"),
    ],
)
def test_an_adapters_other_tokenizer_is_not_used_without_a_word(made, own, said, caplog):
    model, adapter = made
    write_tokenizer(model, adapter, **own)
    pl.load_policies(str(model), a=adapter, dtype="float32")
    open_writer(str(model), adapter=adapter)
    found = [one.getMessage() for one in caplog.records if "its own tokenizer has" in one.getMessage()]
    assert len(found) == (2 if said else 0)
    assert all(f"{adapter}: its own tokenizer has {said}; the model's is used" in one for one in found)


@pytest.mark.parametrize(
    "own", [{"tokens": ["<end>"], "eos": "<end>"}, {"tokens": ["<end>"], "template": OTHER + "<end>"}]
)
def test_tokens_that_the_tokenizer_writes_and_the_model_lacks_are_refused(made, own):
    model, _ = made
    write_tokenizer(model, model, **own)
    with pytest.raises(InputError, match="of 259 tokens, and its tokenizer writes '<end>', number"):
        load_backbone(str(model))


def test_tokens_that_nobody_writes_may_be_added(made):
    model, _ = made
    write_tokenizer(model, model, tokens=["<unused>"])
    assert pl.load_policies(str(model), a=str(model)).generate("hi", weights={"a": 1.0}, max_new_tokens=1)


def test_answers_do_not_end_without_an_end_of_text(made):
    model, _ = made
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.eos_token = tokenizer.chat_template = None
    tokenizer.save_pretrained(model)
    mix = pl.load_policies(str(model), a=str(model), template="dialogue")
    assert pl.log_likelihoods(mix, ["hi"], ["a"], weights={"a": 1.0})[0] < 0
    with pytest.raises(InputError, match="no end-of-text token, with which an answer could end"):
        pl.log_likelihoods(mix, ["hi"], ["a"], weights={"a": 1.0}, ends=True)
