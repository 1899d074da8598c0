"""Training of the uppermost layers of a language model on texts whose lower layers are computed once.

All texts are known beforehand, and the lower layers do not change, so that their output is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pluralign.core import Decision
from pluralign.lm.language_model import OptionLikelihoods

_BATCH = 32


class Upper(nn.Module):
    """The uppermost layers, the final norm and the (frozen) head."""

    def __init__(self, model: Any, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(list(model.model.layers)[-layers:]))
        self.norm = copy.deepcopy(model.model.norm)
        self._frozen = (model.lm_head.weight.detach(), model.model.rotary_emb)

    def forward(self, hidden: Tensor) -> Tensor:
        """Final hidden states, shape (texts, tokens, width)."""
        positions = torch.arange(hidden.shape[1])[None]
        rotary = self._frozen[1](hidden, positions)
        for layer in self.layers:
            hidden = layer(hidden, position_embeddings=rotary, position_ids=positions)
        return self.norm(hidden)

    def answer_log_probs(self, hidden: Tensor, ids: Tensor, spans: Tensor) -> Tensor:
        """Log-probability of each text's answer, shape (texts,); spans holds its first token and its end."""
        final = self(hidden)
        place = torch.arange(ids.shape[1])[None]
        inside = (place >= spans[:, :1]) & (place < spans[:, 1:])
        rows, columns = inside.nonzero(as_tuple=True)
        logits = final[rows, columns - 1] @ self._frozen[0].T
        own = torch.log_softmax(logits, dim=-1)[torch.arange(len(rows)), ids[rows, columns]]
        return torch.zeros(len(ids)).index_add(0, rows, own)

    def next_log_probs(self, hidden: Tensor, ids: Tensor, spans: Tensor) -> Tensor:
        """Log-probabilities of the token after each prompt, shape (texts, vocabulary)."""
        final = self(hidden)[torch.arange(len(ids)), spans[:, 0] - 1]
        return torch.log_softmax(final @ self._frozen[0].T, dim=-1)


class Trunk:
    """The lower layers, and their output for every text that was read.

    Args:
        model: Language model of transformers (Llama).
        tokenizer: Its tokenizer with a chat template.
        layers: Number of uppermost layers that are trained.
    """

    def __init__(self, model: Any, tokenizer: Any, layers: int) -> None:
        self.model, self.tokenizer, self._layers = model.eval(), tokenizer, layers
        self._known: dict[tuple[str, str], tuple[Tensor, Tensor, int]] = {}

    def upper(self) -> Upper:
        """A copy of the untrained uppermost layers."""
        return Upper(self.model, self._layers)

    @torch.no_grad()
    def read(self, texts: Sequence[tuple[str, str]]) -> None:
        """Compute the lower layers' output for prompts with their answers."""
        lower = list(self.model.model.layers)[: -self._layers]
        for prompt, answer in dict.fromkeys(texts):
            if (prompt, answer) in self._known:
                continue
            asked = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            start = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
            said = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
            ids = torch.tensor(start + said)
            positions = torch.arange(len(ids))[None]
            hidden = self.model.model.embed_tokens(ids[None])
            rotary = self.model.model.rotary_emb(hidden, positions)
            for layer in lower:
                hidden = layer(hidden, position_embeddings=rotary, position_ids=positions)
            self._known[prompt, answer] = hidden[0], ids, len(start)

    def batch(self, texts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, ids, and spans of the answers, padded on the right, where no token looks."""
        rows = [self._known[one] for one in texts]
        longest = max(len(ids) for _, ids, _ in rows)
        hidden = torch.zeros(len(rows), longest, rows[0][0].shape[1])
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        for row, (states, ids, _) in enumerate(rows):
            hidden[row, : len(ids)], tokens[row, : len(ids)] = states, ids
        spans = torch.tensor([[start, len(ids)] for _, ids, start in rows])
        return hidden, tokens, spans


class Asked:
    """Trained layers on their trunk as a model that is asked for stances.

    Args:
        trunk: Trunk.
        upper: Uppermost layers.
        name: Name of the model.
    """

    dtype = "float32"

    def __init__(self, trunk: Trunk, upper: Upper, name: str) -> None:
        self.name = name
        self._trunk, self._upper = trunk, upper

    @torch.no_grad()
    def reply_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option, one token, is as the beginning of the reply."""
        words = sorted({option for one in decisions for option in one.options})
        tokens = self._trunk.tokenizer(words, add_special_tokens=False)["input_ids"]
        if any(len(own) != 1 for own in tokens):
            raise ValueError(f"answers of one token each, not {words}")
        ids = {word: own[0] for word, own in zip(words, tokens, strict=True)}
        texts = [(one.prompt, "") for one in decisions]
        self._trunk.read(texts)
        found: list[OptionLikelihoods] = [OptionLikelihoods(np.zeros(0), np.zeros(0, int))] * len(texts)
        # Texts of similar lengths need little padding.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place][0]))
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            log_probs = self._upper.next_log_probs(*self._trunk.batch([texts[place] for place in part]))
            for place, row in zip(part, log_probs, strict=True):
                own = row[[ids[option] for option in decisions[place].options]].double().numpy()
                found[place] = OptionLikelihoods(own, np.ones(len(own), int))
        return found
