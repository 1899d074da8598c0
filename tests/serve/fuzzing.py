"""Bodies of requests that are nearly valid."""

import copy
import json

from .asking import pool

KEYS = [question.decision.key for question in pool()]
TOOL = {
    "type": "function",
    "function": {
        "name": "look", "description": "Look up a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}  # fmt: skip
SCHEMA = {
    "type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", "y"]}},
    "required": ["a"], "additionalProperties": False,
}  # fmt: skip
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "hello"}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "nothing"},
    {"role": "user", "content": "and now?"},
]  # fmt: skip
SAMPLING = {
    "model": "tiny-random", "steering_weights": {"one": 0.5, "two": 0.5}, "max_tokens": 2, "temperature": 0.7,
    "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3, "n": 2, "stop": ["x", "yz"], "logit_bias": {"7": 2.5},
    "presence_penalty": 0.5, "frequency_penalty": -0.5, "normalize": True, "user": "u",
    "metadata": {"k": "v"},
}  # fmt: skip
RESPONSE = {
    "model": "tiny-random", "steering_weights": {"one": 0.5, "two": 0.5}, "max_output_tokens": 3,
    "temperature": 0.7, "top_p": 0.9, "instructions": "Be brief.", "seed": 3,
}  # fmt: skip
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
    {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
    {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "nothing"},
]
CHAT = {**SAMPLING, "messages": MESSAGES, "logprobs": True, "top_logprobs": 2}
VALID = {
    "/v1/chat/completions": [
        CHAT,
        {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
        {**CHAT, "tools": [TOOL], "tool_choice": "auto", "messages": MESSAGES[:2]},
        {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
        {"model": "tiny-random@one=1", "messages": MESSAGES[:2], "chat_template_kwargs": {"date": "today"}},
        {
            "model": "tiny-random", "continue_final_message": True, "add_generation_prompt": False,
            "messages": [MESSAGES[0], {"role": "assistant", "content": "I am"}],
        },
    ],
    "/v1/completions": [
        {**SAMPLING, "prompt": "hello"},
        {**SAMPLING, "prompt": ["hello", "there"], "stream": True},
        {**SAMPLING, "prompt": [[5, 6, 7], [8]], "echo": True, "logprobs": 1},
        {**SAMPLING, "prompt": [5, 6, 7], "echo": True, "logprobs": 0, "max_tokens": 0},
    ],
    "/v1/responses": [
        {**RESPONSE, "input": "hello"},
        {**RESPONSE, "input": ITEMS, "tools": [{"type": "function", **TOOL["function"]}], "stream": True},
        {
            **RESPONSE, "input": ITEMS[:1], "store": False,
            "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
        },
    ],
    "/pluralign/rewards": [
        {"prompt": "hello", "answer": "there", "history": [{"role": "user", "content": "a"}]},
    ],
    "/pluralign/ask": [
        {"answers": [{"question": KEYS[0], "answer": 1}, {"question": KEYS[1], "answer": "same"}]},
        {"answers": [], "skipped": KEYS[2:4]},
    ],
    "/pluralign/story/play": [{"actions": [0, 1], "steering_weights": {"score": 0.5, "harm_avoidance": 0.5}}],
}  # fmt: skip
"""Valid bodies of every endpoint that takes any."""

ODD = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, -(2**63), 10**30, 10**400,
    "", " ", "a", "0", "null", "\0", "\ud7ff", "\u202e", "\U0001f600" * 50, "é" * 300, "<|im_end|>",
    "{{ 1/0 }}", "{% for x in y %}", "../../etc/passwd", "user", "tiny-random", "tiny-random@one=1",
    "tiny-random@one=1e999", [], [[]], [None], [1, "a"], {}, {"": ""}, {"a": {"b": {"c": []}}}, {"one": 1},
    {"type": "object"}, {"$ref": "#"}, {"type": "string", "pattern": "(a+)+$"}, {"anyOf": []}, [0] * 300,
    {"role": "user", "content": "x"},
)  # fmt: skip
"""Values that replace others."""
TEXTS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e99999",
    "-",
    "9" * 5000,
    '"\\ud800"',
    "{",
    "]",
    "\\u0000",
    "//",
    "01",
)
"""Pieces of text that replace values, mostly invalid as JSON."""


def places(value, path=()):
    """Paths of all values in a tree."""
    found = [path]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += places(value[key], (*path, key))
    return found


def mutate(body, random):
    """A body in which one value is replaced, removed, doubled, wrapped, or has something added."""
    body = copy.deepcopy(body)
    *way, last = random.choice(places(body)[1:])
    parent = body
    for key in way:
        parent = parent[key]
    odd = copy.deepcopy(random.choice(ODD))
    kind = random.randrange(6)
    if kind == 0:
        del parent[last]
    elif kind == 1:
        for _ in range(random.choice((1, 3, 60))):
            parent[last] = random.choice(([parent[last]], {"a": parent[last]}))
    elif kind == 2 and isinstance(parent[last], list | str):
        parent[last] = parent[last] * random.choice((2, 40))
    elif kind == 3 and isinstance(parent, dict):
        parent[random.choice(("extra", "", "store", "functions", "é", "x" * 200, *SAMPLING))] = odd
    else:
        parent[last] = odd
    return body


def fuzzed(random):
    """A path and the bytes of a body."""
    path = random.choice(tuple(VALID))
    body = random.choice(VALID[path])
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not isinstance(body, dict) or len(places(body)) < 2:
            break
        body = mutate(body, random)
    text = json.dumps(body, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.15:
        start = random.randrange(len(text))
        text = text[:start] + random.choice(TEXTS) + text[start + random.choice((0, 1, 5)) :]
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        place = random.randrange(len(data))
        data = data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
    return path, data if random.random() > 0.02 else b"[" * 100_000 + data
