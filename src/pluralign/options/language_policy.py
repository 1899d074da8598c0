"""A language model as a policy over listed options, by their likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision, InputError
from pluralign.lm.language_model import LanguageModel
from pluralign.options.features import FeatureSource

_special: Any = import_module("scipy.special")


class LanguageModelPolicy:
    """Chooses options by their likelihood under a language model; implements `core.Policy`.

    pi(a|s) = softmax over the options of (log p(a|s) [/ tokens of a]) / temperature.

    Args:
        language_model: Language model that scores the options.
        store: Cache of likelihoods (of the same backbone); None computes them at every call.
        temperature: Temperature, above 0; lower is more deterministic.
        length_normalised: Whether to divide by the option's number of tokens, so that long options are not
            penalised.

    Raises:
        InputError: The temperature is not above 0, or the store has another backbone.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        store: FeatureSource | None = None,
        *,
        temperature: float = 1.0,
        length_normalised: bool = True,
    ) -> None:
        if not temperature > 0:
            raise InputError(f"must be above 0, found {temperature}", field="temperature")
        if store is not None and store.fingerprint != language_model.backbone.fingerprint:
            raise InputError(f"the feature store has another model than {language_model.name!r}")
        self._language_model, self._store = language_model, store
        self._temperature, self._length_normalised = temperature, length_normalised

    @property
    def name(self) -> str:
        """The model's name."""
        return self._language_model.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the choice other than the defaults, as JSON values, for headers of episodes' files."""
        normalised = {} if self._length_normalised else {"length_normalised": False}
        return normalised if self._temperature == 1 else {**normalised, "temperature": self._temperature}

    @property
    def identity(self) -> Mapping[str, str]:
        """What changes with the model's weights."""
        return self._language_model.identity

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`."""
        entries = (
            self._store.get(decisions)
            if self._store is not None
            else self._language_model.option_log_likelihoods(decisions)
        )
        result: list[npt.NDArray[np.float64]] = []
        for entry in entries:
            scores = entry.log_likelihoods / (entry.lengths if self._length_normalised else 1)
            result.append(np.asarray(_special.log_softmax(scores / self._temperature)))
        return result
