"""Texts that vLLM writes with mixtures of a tiny model, against the own engine's; needs vLLM."""

from __future__ import annotations

import importlib.util
import json
import os

import pytest
import torch
from vllm_texts import MIX, WEIGHTS, ask, minus, next_log_probs, own_text, penalised, texts

from pluralign.core import SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC
from pluralign.steer.policies import load_policies
from pluralign.steer.requests import Request
from pluralign.steer.token_rules import TokenRules

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed (make test-vllm installs it)", allow_module_level=True)

from vllm.sampling_params import RequestOutputKind

from pluralign.lm.generation import stop_ids
from pluralign.vllm.engine import log_prob_of, sampling_params

pytestmark = pytest.mark.filterwarnings("ignore")
POWERS = {"geometric": GEOMETRIC, "arithmetic": ARITHMETIC, "harmonic": HARMONIC}
PROMPT = "Tell me a story about a fox."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from vllm_models import make_adapters, save_tiny

    root = tmp_path_factory.mktemp("tiny")
    model = save_tiny(root / "model")
    return model, {**make_adapters(model, root, ("a", "b", "c"), rank=4, std=0.3), "base": root / "model"}


@pytest.fixture(scope="module", params=POWERS)
def both(request, place):
    """The own policies, and vLLM in this process, with chunks of 64 tokens and too small a cache for all."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    from vllm import LLM

    from pluralign.vllm.adapters import open_adapters
    from pluralign.vllm.launch import engine_options
    from pluralign.vllm.settings import MixtureSettings

    model, folders = place
    adapters = open_adapters(model, folders)
    settings = MixtureSettings(adapters.folders, POWERS[request.param])
    llm = LLM(
        model, dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=16, block_size=32,
        max_num_batched_tokens=64, num_gpu_blocks_override=36, distributed_executor_backend="uni",
        disable_log_stats=False, max_logprobs=400, **engine_options(settings, adapters),
    )  # fmt: skip
    yield load_policies(model, folders, power=settings.power, dtype="float32"), llm
    llm.llm_engine.engine_core.shutdown()
    torch.set_num_threads(1)


def scheduler_of(llm):
    return llm.llm_engine.engine_core.engine_core.scheduler


def test_greedy_and_sampled_texts_are_the_own_engines(both):
    """Twelve requests at once, with chunked prompts and preempted groups."""
    mix, llm = both
    before = scheduler_of(llm).counts.gang_preemptions
    prompts = [mix.text_ids(f"{PROMPT * (i % 4 + 1)} {i}") for i in range(12)]
    weights = [WEIGHTS[i % 4] for i in range(12)]
    for how in ({"temperature": 0.0}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 0.8, "top_k": 20}):
        found = ask(llm, prompts, weights, seed=5, max_tokens=48, **how)
        expected = [
            own_text(mix, ids, own, seed=5, new=48, **how) for ids, own in zip(prompts, weights, strict=True)
        ]
        assert [texts(mix, one)[0] for one in found] == expected
    assert scheduler_of(llm).counts.gang_preemptions > before
    assert scheduler_of(llm).counts.mixed_steps > 100
    assert not scheduler_of(llm).requests


def test_n_answers_have_seeds_that_follow_each_other(both):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    (found,) = ask(llm, [ids], n=3, seed=7, temperature=1.0)
    expected = [own_text(mix, ids, seed=7 + i, temperature=1.0) for i in range(3)]
    assert texts(mix, found) == expected
    assert len(set(expected)) == 3


def test_stop_texts_and_the_limit_end_an_answer(both):
    mix, llm = both
    prompts = (mix.text_ids(f"{PROMPT} {i}") for i in range(20))
    ids, text = next((ids, text) for ids in prompts if len(text := own_text(mix, ids)) > 10)
    stop = text[5:7]
    (found,) = ask(llm, [ids], stop=[stop])
    assert (found.outputs[0].text, found.outputs[0].finish_reason) == (text[: text.index(stop)], "stop")
    (found,) = ask(llm, [ids], max_tokens=3)
    assert found.outputs[0].finish_reason == "length"


def test_log_probabilities_are_the_mixtures(both):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    (found,) = ask(llm, [ids], max_tokens=2, logprobs=20, temperature=1.0, seed=3)
    expected = next_log_probs(mix, ids)
    first = found.outputs[0].logprobs[0]
    assert set(expected.topk(20).indices.tolist()) <= set(first)
    for token, value in first.items():
        assert value.logprob == pytest.approx(float(expected[token]), abs=1e-4)
    second = next_log_probs(mix, [*ids, found.outputs[0].token_ids[0]])
    for token, value in found.outputs[0].logprobs[1].items():
        assert value.logprob == pytest.approx(float(second[token]), abs=1e-4)


def test_a_grammar_masks_the_mixture(both):
    """Of the allowed words, the one whose first letter the mixture prefers, not the first policy."""
    from vllm.sampling_params import StructuredOutputsParams

    mix, llm = both
    words = [chr(c) * 2 for c in range(ord("a"), ord("z") + 1)]
    firsts = [mix.tokenizer(word, add_special_tokens=False).input_ids[0] for word in words]
    for i in range(6):
        ids = mix.text_ids(f"{PROMPT} {i}")
        (found,) = ask(llm, [ids], structured_outputs=StructuredOutputsParams(choice=words), logprobs=1)
        own = next_log_probs(mix, ids)[firsts]
        assert found.outputs[0].text == words[int(own.argmax())]
        logprob = found.outputs[0].logprobs[0][found.outputs[0].token_ids[0]].logprob
        assert logprob == pytest.approx(float(own.log_softmax(-1).max()), abs=1e-4)
        (found,) = ask(
            llm, [ids], structured_outputs=StructuredOutputsParams(choice=words), temperature=1.0, seed=i
        )
        assert found.outputs[0].text in words
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    (found,) = ask(llm, [ids], structured_outputs=StructuredOutputsParams(json=schema), max_tokens=60)
    assert isinstance(json.loads(found.outputs[0].text)["a"], bool)


@pytest.mark.parametrize("given", [{"presence": 2.0}, {"frequency": 1.0}])
def test_penalties_act_on_the_mixture(both, given):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    penalties = {f"{name}_penalty": value for name, value in given.items()}
    (found,) = ask(llm, [ids], max_tokens=8, ignore_eos=True, **penalties)
    assert list(found.outputs[0].token_ids) == penalised(mix, ids, 8, lambda s, t: minus(s, t, **given))


def test_biases_and_bad_words_act_on_the_mixture(both):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    plain = penalised(mix, ids, 4, lambda scores, _: scores)

    def biased(scores, _):
        scores[plain[0]] -= 100
        scores[70] += 1.5
        return scores

    bias = {plain[0]: -100.0, 70: 1.5}
    (found,) = ask(llm, [ids], max_tokens=4, ignore_eos=True, logit_bias=bias)
    assert list(found.outputs[0].token_ids) == penalised(mix, ids, 4, biased)
    word = mix.tokenizer.decode([70])
    for bad in ([], [word]):
        (found,) = ask(llm, [ids], max_tokens=4, logit_bias={70: 100.0}, bad_words=bad)
        assert (70 in found.outputs[0].token_ids) is not bool(bad)


def test_repetition_penalties_are_for_geometric_mixtures(both):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    (found,) = ask(llm, [ids], max_tokens=8, ignore_eos=True, repetition_penalty=1.5)
    if mix.power == GEOMETRIC:
        plain = own_text(mix, ids, new=8)
        assert found.outputs[0].text != plain
    else:
        assert found.outputs[0].finish_reason == "error"


def test_metrics_leave_twins_out(both):
    mix, llm = both

    def counts():
        names = (
            "vllm:request_success",
            "vllm:generation_tokens",
            "vllm:prompt_tokens",
            "vllm:prefix_cache_queries",
        )
        found = dict.fromkeys(names, 0.0)
        for metric in llm.get_metrics():
            if metric.name in found:
                found[metric.name] += metric.value
        return found

    before = counts()
    prompts = [mix.text_ids(f"{i} {PROMPT}") for i in range(4)]
    ask(llm, prompts, max_tokens=5, ignore_eos=True)
    after = counts()
    tokens = sum(map(len, prompts))
    assert [after[name] - before[name] for name in after] == [4, 20, tokens, tokens]


def test_what_is_wrong_is_refused(both):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    for weights, message in (({"a": 0.5}, "sum to 1"), ({"a": -1.0, "b": 2.0}, "not negative")):
        with pytest.raises(Exception, match=message):  # vLLM's own, which it answers with status 400
            ask(llm, [ids], weights)
    (found,) = ask(llm, [ids], {"nobody": 1.0})
    assert found.outputs[0].finish_reason == "error"


SCHEMA = json.dumps({"type": "object", "properties": {"a": {"enum": ["x", "yy"]}}, "required": ["a"]})


@pytest.mark.parametrize(
    ("rules", "how"),
    [
        (TokenRules(presence_penalty=1.5, frequency_penalty=0.5), {}),
        (TokenRules(logit_bias=((40, 6.0), (50, 5.5)), frequency_penalty=1.0), {}),
        (TokenRules(), {"temperature": 1.0, "min_p": 0.2}),
        (TokenRules(logit_bias=((40, 3.0),)), {"temperature": 1.2, "min_p": 0.02, "top_p": 0.8}),
        (TokenRules(schema=SCHEMA), {"temperature": 1.0}),
    ],
)
def test_rules_of_the_servers_requests_give_the_own_engines_texts(both, rules, how):
    mix, llm = both
    ids = mix.text_ids(PROMPT)
    request = Request(
        ids, SteeringWeights(MIX), Decoding(60, **({"temperature": 0.0} | how)), 3, "", rules, alternatives=2
    )
    decoder = MixtureDecoder(mix.rows, mix.power)
    _, events = decoder.admit([request])
    while decoder.running:
        events += decoder.step()
    params = sampling_params(request, frozenset(stop_ids(mix.rows.backbone)))
    params.output_kind = RequestOutputKind.FINAL_ONLY
    (found,) = llm.generate([{"prompt_token_ids": list(ids)}], [params], use_tqdm=False)
    (output,) = found.outputs
    if rules.schema is not None:
        # The engines' grammars differ in the blanks that they allow.
        assert json.loads(texts(mix, found)[0])["a"] in ("x", "yy")
        return
    assert list(output.token_ids) == [event.log_prob.token for event in events]
    for event, known in zip(events, output.logprobs, strict=True):
        own, theirs = event.log_prob, log_prob_of(event.log_prob.token, known, 2)
        assert theirs.log_prob == pytest.approx(own.log_prob, abs=1e-4)
        assert [one for _, one in theirs.likeliest] == pytest.approx(
            [one for _, one in own.likeliest], abs=1e-4
        )
