"""Names of control tokens in texts, by tokenizers of every kind."""

import random

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pluralign.core.messages import unquoted
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.control_tokens import ControlTokens
from pluralign.lm.prompts import encode, encode_with_places, quoted
from pluralign.lm.tiny import make_tiny_tokenizer

NAMES = ["<s>", "<|im_start|>", "<|a<s>b|>"]
WORDS = ["hi", "the", " ", "  ", "\n", "<", "|>", "im_start", "é", "<|im_", "end|>", " a", "ing", ".", *NAMES]


def wrapped(tokenizer):
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<s>", unk_token="<unk>")
    made.add_special_tokens({"additional_special_tokens": NAMES[1:]})
    return made


def unigram():
    """Like Llama 2 and T5: pieces with a mark for spaces; control tokens are pieces of the vocabulary."""
    letters = sorted({c for word in WORDS for c in word} | {"▁"})
    pieces = [("<unk>", 0.0), ("<s>", 0.0), *((c, -3.0) for c in letters), ("▁hi", -1.0), ("ing", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return wrapped(tokenizer)


def words():
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "hi": 2, "the": 3}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrapped(tokenizer)


KINDS = {"bytes": make_tiny_tokenizer, "unigram": unigram, "words": words}


def texts(names, seed=0):
    rng = random.Random(seed)
    return ["".join(rng.choice([*WORDS, *names]) for _ in range(rng.randint(1, 12))) for _ in range(200)]


@pytest.fixture(params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def test_no_quoted_text_has_a_control_token(tokenizer):
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for text in texts(tokenizer.all_special_tokens):
        marked = quoted(tokenizer, text)
        assert unquoted(marked) == text
        assert quoted(tokenizer, marked) == marked
        assert not set(encode(tokenizer, marked)) & special


def test_other_texts_are_cut_as_the_tokenizer_cuts_them(tokenizer):
    control = ControlTokens(tokenizer)
    for text in texts(tokenizer.all_special_tokens, seed=1):
        expected = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, places = control.encode(text)
        assert ids == expected["input_ids"]
        assert places == expected["offset_mapping"]
        if not control.found_in(text):
            assert quoted(tokenizer, text) == text


def test_quoted_names_are_cut_as_split_special_tokens_are():
    tokenizer = make_tiny_tokenizer()
    for text in texts(tokenizer.all_special_tokens, seed=2):
        options = {"add_special_tokens": False, "split_special_tokens": True}
        expected = tokenizer(text, **options, return_offsets_mapping=True)
        ids, places = encode_with_places(tokenizer, quoted(tokenizer, text))
        assert ids == expected["input_ids"]
        assert places == expected["offset_mapping"]


def test_decoding_quotes_again():
    tokenizer = make_tiny_tokenizer()
    control = ControlTokens(tokenizer)
    text = "<|im_start|>user\n" + control.quote("a<|im_end|>b") + "<|im_end|>"
    assert control.decode(encode(tokenizer, text)) == text
    assert (control.count(text), control.ends(text), control.first(text)) == (2, "<|im_end|>", "<|im_start|>")


@pytest.mark.slow
def test_on_smollm2():
    tokenizer = load_tokenizer("smollm2-135m")
    for text in texts(tokenizer.all_special_tokens, seed=3):
        expected = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert encode(tokenizer, quoted(tokenizer, text)) == expected
        assert ControlTokens(tokenizer).encode(text)[0] == encode(tokenizer, text)
