"""Requests for mixtures to vLLM, and the same ones by our own engine."""

from __future__ import annotations

import json

import numpy as np
import torch

from pluralign.core import SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import mix_rows
from pluralign.steer.requests import Request

WEIGHTS = (
    {"a": 0.5, "b": 0.3, "c": 0.2},
    {"a": 0.25, "c": 0.5, "base": 0.25},
    {"b": 1.0},
    {"a": 0.5, "b": 0.5},
)
MIX = WEIGHTS[0]


def ask(llm, prompts, weights=MIX, **params):
    """Outputs of vLLM for token ids."""
    from vllm import SamplingParams

    each = weights if isinstance(weights, (list, tuple)) else [weights] * len(prompts)
    defaults = {"max_tokens": 24, "temperature": 0.0}
    asked = [
        SamplingParams(**(defaults | params), extra_args={"steering_weights": json.dumps(one)})
        for one in each
    ]
    return llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], asked, use_tqdm=False)


def own_text(mix, ids, weights=MIX, *, seed=0, new=24, **how):
    decoding = Decoding(new, **({"temperature": 0.0} | how))
    request = Request(ids, SteeringWeights(weights), decoding, seed)
    return MixtureDecoder(mix.rows, mix.power).generate([request])[0]


def texts(mix, found):
    """Texts of vLLM's tokens; its own texts lack characters that are incomplete at the end."""
    return [mix.tokenizer.decode(one.token_ids, skip_special_tokens=True) for one in found.outputs]


def next_log_probs(mix, ids, weights=MIX):
    """The own mixture's log-probabilities of the next token."""
    numbers = [mix.rows.names.index(name) for name in weights]
    found = mix.rows.admit([(0, number, ids) for number in numbers])
    log_probs = found.logits().log_softmax(-1)
    mix.rows.release({0})
    order = [number for _, number in sorted((n, i) for i, n in enumerate(numbers))]
    own = torch.tensor([list(weights.values())[i] for i in order])
    return mix_rows(log_probs, torch.zeros(len(own), dtype=torch.long), own, 1, mix.power)[0]


def penalised(mix, ids, new, change):
    """Greedy tokens of the own mixture, its log-probabilities changed by a function of the tokens so far."""
    tokens: list[int] = []
    for _ in range(new):
        scores = change(next_log_probs(mix, [*ids, *tokens]).clone(), tokens)
        tokens.append(int(scores.argmax()))
    return tokens


def minus(scores, tokens, presence=0.0, frequency=0.0):
    counts = np.bincount(tokens, minlength=len(scores))
    return scores - torch.tensor(counts) * frequency - torch.tensor(counts > 0) * presence
