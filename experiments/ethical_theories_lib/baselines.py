"""Baselines that do not read a text's meaning: its length, its style, its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pluralign.core import PreferencePair
from pluralign.core.arrays import FloatArray

_WORDS = re.compile(r"[a-z']+")
_MARKS = ".,;:!?\"'-()"
_STYLE_WORDS = ("i", "my", "me", "not", "n't", "no", "but", "because", "and", "the", "a", "to", "very", "so")
DECAYS = (0.01, 0.1, 1.0, 10.0)
"""Weight decays among which the validation pairs choose."""


def _length(text: str) -> Counter[str]:
    return Counter({"characters": len(text) / 50, "words": len(text.split()) / 10})


def _style(text: str) -> Counter[str]:
    words = _WORDS.findall(text.lower())
    found = _length(text)
    found.update({f"mark {mark}": text.count(mark) for mark in _MARKS})
    found.update({f"word {word}": sum(w.endswith(word) for w in words) for word in _STYLE_WORDS})
    found["capitals"] = sum(c.isupper() for c in text)
    found["mean word"] = sum(map(len, words)) / max(1, len(words)) / 5  # pyright: ignore
    return found


def _words(text: str) -> Counter[str]:
    return Counter(_WORDS.findall(text.lower()))


BASELINES: dict[str, Callable[[str], Counter[str]]] = {"length": _length, "style": _style, "words": _words}
"""Features of a text by the baseline's name."""


def baseline_margins(name: str, pairs: Sequence[PreferencePair]) -> FloatArray:
    """Differences of a linear Bradley-Terry model's rewards, chosen minus rejected, for all pairs.

    The model is trained on the pairs of the split ``train``; its weight decay is chosen on ``validation``.

    Args:
        name: Name of the baseline.
        pairs: Pairs of all splits.
    """
    features = [
        [BASELINES[name](text) for _, text in pair.texts(row=i)] for i, pair in enumerate(pairs, start=1)
    ]
    train, held = (
        [i for i, pair in enumerate(pairs) if pair.split == split] for split in ("train", "validation")
    )
    names = sorted({word for i in train for side in features[i] for word in side})
    column = {word: j for j, word in enumerate(names)}
    table = np.zeros((len(pairs), len(names)))
    for i, (chosen, rejected) in enumerate(features):
        for sign, side in ((1.0, chosen), (-1.0, rejected)):
            for word, value in side.items():
                if word in column:
                    table[i, column[word]] += sign * value
    found = [table @ fit_linear(table[train], decay) for decay in DECAYS]
    return max(found, key=lambda margins: accuracy(margins[held])) if held else found[1]


def fit_linear(table: FloatArray, decay: float) -> FloatArray:
    """Weights of a linear Bradley-Terry model from differences of features, shape (pairs, d)."""
    values = torch.tensor(table)
    weights = torch.zeros(table.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.softplus(-(values @ weights)).sum() + decay * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore
    return weights.detach().numpy()


def accuracy(margins: FloatArray) -> float:
    """Share of positive margins; a margin of 0 counts half."""
    return float(((margins > 0) + 0.5 * (margins == 0)).mean()) if len(margins) else float("nan")
