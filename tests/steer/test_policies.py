"""Policies as a person steers them from Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas
import pytest
import torch

from pluralign.core import InputError
from pluralign.lm.backbone import load_backbone
from pluralign.lm.prompts import prompt_ids
from pluralign.steer import requests
from pluralign.steer.policies import load_policies

CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture
def mix(adapters):
    return load_policies("tiny-random", adapters, dtype="float32")


def weights(calm):
    return {"calm": calm, "lively": 1 - calm}


def greedy(folder, text, count):
    """transformers' own greedy continuation by one adapter."""
    backbone = load_backbone("tiny-random", dtype=torch.float32, adapter=folder)
    ids = torch.tensor([prompt_ids(backbone.tokenizer, text).ids])
    written = backbone.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
        pad_token_id=backbone.tokenizer.eos_token_id,
    )[0, ids.shape[1] :]  # fmt: skip
    return backbone.tokenizer.decode(written, skip_special_tokens=True)


def test_one_hot_weights_give_that_policy_s_own_text(mix, adapters):
    for calm, name in ((1.0, "calm"), (0.0, "lively")):
        found = mix.generate("once upon", weights=weights(calm), max_new_tokens=12, temperature=0)
        assert found == greedy(adapters[name], "once upon", 12)


def test_an_answer_depends_on_its_own_prompt_weights_and_seed_only(mix):
    prompts = ["once upon", "there was", "and then a"]
    mixes = [weights(0.2), weights(0.5), weights(1.0)]
    together = mix.generate(prompts, weights=mixes, max_new_tokens=8, seed=3)
    alone = [
        mix.generate(prompt, weights=own, max_new_tokens=8, seed=3)
        for prompt, own in zip(prompts, mixes, strict=True)
    ]
    assert together == alone
    assert mix.generate(prompts, weights=mixes, max_new_tokens=8, seed=4) != together


def test_streams_are_generate_s_texts_even_when_read_in_turn(mix):
    prompts = ["once upon", "there was"]
    whole = mix.generate(prompts, weights=weights(0.4), max_new_tokens=10, seed=1)
    streams = [mix.stream(prompt, weights=weights(0.4), max_new_tokens=10, seed=1) for prompt in prompts]
    pieces = ["", ""]
    for _ in range(10):
        for i, stream in enumerate(streams):
            pieces[i] += next(stream, "")
    assert pieces == whole


def test_threads_get_the_same_texts_as_one_after_another(mix):
    prompts = [f"once upon {'x' * number}" for number in range(12)]
    options = {"weights": weights(0.4), "max_new_tokens": 8, "seed": 1}
    whole = mix.generate(prompts, **options)

    def answer(number):
        if number % 2:
            return "".join(mix.stream(prompts[number], **options))
        return mix.generate(prompts[number], **options)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(answer, range(12))) == whole
    assert len(mix.rows.order) == 0


def test_a_stream_that_is_left_early_lets_go_of_its_rows(mix):
    stream = mix.stream("once upon", weights=weights(0.5), max_new_tokens=10, seed=1)
    next(stream)
    assert len(mix.rows.order) == 2
    stream.close()
    assert len(mix.rows.order) == 0
    # And others go on as if it had never been there.
    assert mix.generate("there was", weights=weights(0.5), max_new_tokens=5, temperature=0)


def test_a_conversation_goes_through_the_template(mix):
    text = mix.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    said = mix.generate(CHAT, weights=weights(0.5), max_new_tokens=6, temperature=0)
    assert said == mix.generate(text, weights=weights(0.5), max_new_tokens=6, temperature=0)
    assert mix.generate([CHAT, CHAT], weights=weights(0.5), max_new_tokens=6, temperature=0) == [said, said]


def test_a_column_of_a_data_frame_is_a_sequence_of_prompts(mix):
    weights = dict.fromkeys(mix.objectives, 1 / len(mix.objectives))
    texts = ["Say a:", "Say b:"]
    expected = mix.generate(texts, weights=weights, max_new_tokens=3)
    assert mix.generate(pandas.Series(texts, index=[7, 3]), weights=weights, max_new_tokens=3) == expected


def test_a_function_may_choose_the_weights(mix):
    chosen = mix.generate(
        ["calmly", "now"], weights=lambda prompt: weights(float(prompt == "calmly")), max_new_tokens=6,
        temperature=0,
    )  # fmt: skip
    assert chosen == mix.generate(
        ["calmly", "now"], weights=[weights(1.0), weights(0.0)], max_new_tokens=6, temperature=0
    )


def test_folders_as_a_mapping_or_as_keywords(adapters, mix):
    other = load_policies("tiny-random", dtype="float32", **adapters)
    assert other.objectives == mix.objectives == ("calm", "lively")
    settings = {"weights": weights(0.3), "max_new_tokens": 6, "temperature": 0}
    assert other.generate("once", **settings) == mix.generate("once", **settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": {"calm": 0.5, "brave": 0.5}}, "unknown objective 'brave'"),
        ({"weights": {"calm": 0.5}}, "must sum to 1"),
        ({"weights": [{"calm": 1.0}] * 2}, r"expected one mapping or 1 \(one per prompt\), found 2"),
        ({"weights": {"calm": 1.0}, "temperature": -1}, "temperature"),
        ({"weights": {"calm": 1.0}, "max_new_tokens": 10**6}, "exceed the context"),
    ],
)
def test_bad_input_is_refused_by_name(mix, given, message):
    with pytest.raises(InputError, match=message):
        mix.generate(["once"], **given)


def test_no_policy_and_a_name_twice_are_refused(adapters):
    with pytest.raises(InputError, match="expected at least one policy"):
        load_policies("tiny-random")
    with pytest.raises(InputError, match="'calm' is given twice"):
        load_policies("tiny-random", {"calm": "tiny-random"}, calm="tiny-random")


def test_objectives_that_have_an_option_s_name_go_into_the_mapping(adapters):
    given = {"power": adapters["calm"], "model": adapters["lively"]}
    found = load_policies("tiny-random", given, policies="tiny-random", dtype="float32")
    assert found.objectives == ("power", "model", "policies")
    with pytest.raises(InputError, match=r"power.*given in the mapping"):
        load_policies("tiny-random", power=adapters["calm"])
    with pytest.raises(InputError, match="dtype"):
        load_policies("tiny-random", given, dtype=adapters["calm"])


def test_a_stop_text_may_be_given_alone(mix):
    settings = {"weights": weights(0.5), "max_new_tokens": 30, "seed": 2}
    whole = mix.generate("once", **settings)
    stop = whole[4:6]
    assert mix.generate("once", **settings, stop=stop) == whole[: whole.find(stop)]
    assert "".join(mix.stream("once", **settings, stop=[stop])) == whole[: whole.find(stop)]


def test_few_rows_at_a_time_change_no_text(mix, monkeypatch):
    prompts = ["once upon", "there was", "and then a"]
    settings = {"weights": weights(0.4), "max_new_tokens": 8}
    together = mix.generate(prompts, **settings)
    monkeypatch.setattr(requests, "_ROWS", 1)
    assert mix.generate(prompts, **settings) == together


def test_a_stream_is_refused_before_its_first_piece(mix):
    with pytest.raises(InputError, match="unknown objective"):
        mix.stream("once", weights={"brave": 1.0})
    with pytest.raises(InputError, match="the prompt is empty"):
        mix.generate(["once", ""], weights=weights(0.5))
    with pytest.raises(InputError, match="expected messages with a role and a content"):
        mix.generate([{"role": "user"}], weights=weights(0.5))
