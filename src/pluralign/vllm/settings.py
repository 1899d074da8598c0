"""Which policies vLLM mixes, and the steering weights of its requests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from pluralign.core import InputError, SteeringWeights
from pluralign.steer.mixing import GEOMETRIC

CONFIG = "pluralign"
"""Key of the settings in vLLM's ``--additional-config``."""
WEIGHTS = "steering_weights"
"""Key of a request's steering weights, in its body and in vLLM's extra arguments."""
MEMBER = "pluralign_member"
"""Key of a row's place in its group (`Member`) in the extra arguments that the scheduler gives it."""


@dataclass(frozen=True)
class MixtureSettings:
    """Policies that vLLM mixes.

    Args:
        policies: Folder of each policy's LoRA adapter, by name; None for the model itself.
        power: Exponent of the power mean that mixes the policies: 1 arithmetic, 0 geometric, -1 harmonic.
        together: Largest number of policies that one request mixes; 0 for all of them.

    Raises:
        InputError: There are no policies, or a number is out of its range.
    """

    policies: Mapping[str, str | None]
    power: float = GEOMETRIC
    together: int = 0

    def __post_init__(self) -> None:
        if not self.policies:
            raise InputError("expected at least one policy, found none", field="policies")
        if not math.isfinite(self.power):
            raise InputError(f"must be finite, found {self.power}", field="power")
        if not 0 <= self.together <= len(self.policies):
            raise InputError(
                f"must be from 0 to the {len(self.policies)} policies, found {self.together}",
                field="together",
            )

    @classmethod
    def of(cls, additional_config: Any) -> MixtureSettings:
        """The settings in vLLM's ``additional_config``.

        Raises:
            InputError: It has none.
        """
        given = _object(_object(additional_config).get(CONFIG))
        if not isinstance(given.get("policies"), Mapping):
            raise InputError(f"vLLM's --additional-config has no policies under {CONFIG!r}")
        return cls(
            dict(given["policies"]), float(given.get("power", GEOMETRIC)), int(given.get("together", 0))
        )

    def to_config(self) -> dict[str, Any]:
        """The settings as a value of vLLM's ``additional_config``."""
        return {CONFIG: {**asdict(self), "policies": dict(self.policies)}}

    @property
    def adapters(self) -> int:
        """Number of policies that are adapters."""
        return sum(folder is not None for folder in self.policies.values())

    @property
    def most(self) -> int:
        """Largest number of policies of a request."""
        return self.together or len(self.policies)

    def weights(self, given: Any) -> dict[str, float]:
        """The positive weights of a request, in the order of the policies.

        Args:
            given: Weights by policy, as an object, as JSON text or as NAME=NUMBER,NAME=NUMBER.

        Raises:
            InputError: They are no weights, do not sum to one, name an unknown policy, or are too many.
        """
        weights = read_weights(given)
        weights.require_known(list(self.policies))
        found = {name: weights[name] for name in self.policies if weights.get(name, 0.0) > 0}
        if len(found) > self.most:
            raise InputError(
                f"{len(found)} policies have weight; this server mixes at most {self.most} in a request",
                field=WEIGHTS,
            )
        return found


def read_weights(given: Any) -> SteeringWeights:
    """Steering weights from an object, JSON text, or NAME=NUMBER,NAME=NUMBER.

    Raises:
        InputError: They are no weights, or do not sum to one.
    """
    if isinstance(given, str):
        if not given.lstrip().startswith("{"):
            return SteeringWeights.parse(given)
        try:
            given = json.loads(given)
        except ValueError as error:
            raise InputError("expected an object of weights by policy", field=WEIGHTS) from error
    if not isinstance(given, Mapping):
        raise InputError(f"expected an object of weights by policy, found {given!r:.60}", field=WEIGHTS)
    return SteeringWeights(cast("Mapping[str, float]", given))


def _object(given: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}


@dataclass(frozen=True)
class Member:
    """A row's place in its group.

    Args:
        group: Name of the group: the id of the user's request.
        number: Number of the row in the group; row 0 is the user's request.
        size: Number of rows of the group.
        weight: Weight of the row's policy.
        seed: Random seed of the group's draws.
        masked: Whether a grammar masks row 0 (structured outputs).
    """

    group: str
    number: int
    size: int
    weight: float
    seed: int
    masked: bool = False

    @classmethod
    def of(cls, extra_args: Any) -> Member | None:
        """The place in vLLM's extra arguments of a row; None for a row of no group."""
        given: Any = extra_args.get(MEMBER) if extra_args else None
        return None if given is None else cls(*given)

    def to_list(self) -> list[Any]:
        """The place as a value of vLLM's extra arguments."""
        return [self.group, self.number, self.size, self.weight, self.seed, self.masked]
