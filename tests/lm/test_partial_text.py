"""Text that is decoded token by token."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.partial_text import PartialText


def metaspace_tokenizer():
    """As SentencePiece models decode: without a first word's space, odd characters in bytes."""
    words = ["<s>", "▁the", "▁cat", "s", "▁", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "!"]
    model = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@pytest.mark.parametrize("tokenizer", [metaspace_tokenizer(), make_tiny_backbone().tokenizer])
@given(st.lists(st.integers(0, 255), max_size=30))
@settings(max_examples=150, deadline=None)
def test_text_decoded_token_by_token_is_that_of_the_whole(tokenizer, ids):
    ids = [i % len(tokenizer) for i in ids]
    running, seen = PartialText(tokenizer), ""
    for i, token in enumerate(ids, start=1):
        seen += running.add(token, last=i == len(ids))[0]
        assert running.decoded() == tokenizer.decode(ids[:i], skip_special_tokens=True)


@pytest.mark.parametrize(("stop", "kept"), [(" ", "one"), (" t", "one"), (" o", "one two"), ("n", "o")])
def test_a_stop_text_is_looked_for_after_the_lead(stop, kept):
    tokenizer = make_tiny_backbone().tokenizer
    ids = tokenizer(" one two", add_special_tokens=False).input_ids
    running, seen = PartialText(tokenizer, (stop,), lead=" "), ""
    for i, token in enumerate(ids, start=1):
        text, stopped = running.add(token, last=i == len(ids))
        seen += text
        if stopped:
            break
    assert seen == kept


@pytest.mark.parametrize(("before", "text"), [((), "the cats"), ((2,), " the cats"), ((0,), "the cats")])
def test_a_completion_keeps_the_space_after_the_text_that_it_goes_on_with(before, text):
    running, seen = PartialText(metaspace_tokenizer(), before=before), ""
    for token in (1, 2, 3):
        seen += running.add(token, last=token == 3)[0]
    assert seen == text
    assert running.ids == [1, 2, 3]


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_a_completion_decoded_token_by_token_goes_on_with_a_text(ids, before):
    tokenizer = metaspace_tokenizer()
    running, seen = PartialText(tokenizer, before=[before]), ""
    for i, token in enumerate(ids, start=1):
        seen += running.add(token, last=i == len(ids))[0]
    known, whole = (tokenizer.decode(one, skip_special_tokens=True) for one in ([before], [before, *ids]))
    if whole.startswith(known) and "\N{REPLACEMENT CHARACTER}" not in whole:
        assert seen == whole[len(known) :]
