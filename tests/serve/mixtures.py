"""Mixtures of the served policies by plain passes, and requests for them."""

from functools import cache

import torch

from pluralign.lm.backbone import load_backbone
from pluralign.steer.mixing import mix_rows

from .conftest import NAMES, adapted

WEIGHTS = {"one": 0.5, "two": 0.2, "three": 0.3}


@cache
def model(name):
    return adapted(NAMES.index(name))


def mixed(ids, weights=WEIGHTS):
    """Log-probabilities of the next token after each of these, of the geometric mixture, by plain passes."""
    rows = [torch.log_softmax(model(name)(torch.tensor([ids])).logits[0].detach(), -1) for name in weights]
    count = len(ids)
    owners = torch.arange(count).repeat(len(rows))
    shares = torch.tensor(list(weights.values())).repeat_interleave(count)
    return mix_rows(torch.cat(rows), owners, shares, count)


@cache
def tokenizer():
    return load_backbone("tiny-random").tokenizer


def chat_of(server, chat, **fields):
    names = (
        "steering_weights",
        "top_k",
        "min_p",
        "normalize",
        "continue_final_message",
        "chat_template_kwargs",
    )
    body = chat(**fields)
    extra = {name: body.pop(name) for name in names if name in body}
    return server.openai.chat.completions.create(**body, extra_body=extra)


def complete(server, prompt, **fields):
    extra = {name: fields.pop(name) for name in ("steering_weights", "normalize") if name in fields}
    body = {"model": "tiny-random", "temperature": 0, "max_tokens": 6, **fields}
    return server.openai.completions.create(prompt=prompt, extra_body=extra, **body)
