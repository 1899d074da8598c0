"""A language model as a policy: options in proportion to their likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pluralign.core import Decision
from pluralign.models.features import FeatureSource
from pluralign.models.language_model import LanguageModel


class LanguageModelPolicy:
    """Chooses options by their likelihood under a language model; implements `core.Policy`.

    pi(a|s) = softmax over the options of (log p(a|s) [/ tokens of a]) / temperature.

    Args:
        language_model: whose likelihoods.
        store: where they are cached; None computes them anew at every call.
        temperature: above zero.
        length_normalised: divide by the option's tokens, so that long options are not punished.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        store: FeatureSource | None = None,
        *,
        temperature: float = 1.0,
        length_normalised: bool = True,
    ) -> None:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The model's name."""
        raise NotImplementedError

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`."""
        raise NotImplementedError
