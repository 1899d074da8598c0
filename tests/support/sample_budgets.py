"""Prompts, a reward of texts, and the rule of a budget of samples written out."""

import json

import numpy as np

CHAT = [{"role": "user", "content": "hello"}]
PROMPTS = ["Say a:", CHAT, "A third one:", "b", "c"]


def letters(prompts, texts):
    """A reward that differs between samples, with a level of its own for each prompt."""
    return [
        sum(map(ord, text)) % 17 + 5 * len(str(prompt)) for prompt, text in zip(prompts, texts, strict=True)
    ]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_prompt(found):
    parts = {}
    for row in found:
        parts.setdefault(json.dumps(row["prompt"]), []).append(row)
    return list(parts.values())


def stops_at(rewards, least, margin, prior=None, variance=0.0):
    """Number of samples by the rule, written out."""
    for count in range(least, len(rewards)):
        mean = np.mean(rewards[:count])
        if prior is not None:
            gap, error = mean - prior, variance / count
            mean = prior + max(0.0, 1 - error / gap**2) * gap
        if max(rewards[:count]) >= mean + margin:
            return count
    return len(rewards)
