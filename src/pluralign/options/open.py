"""Policies of games by name: random play, trained policies, and language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

from pluralign.core import InputError, Policy, UniformPolicy
from pluralign.core.files import in_home
from pluralign.core.interfaces import require_policy
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.lm.language_model import LanguageModel
    from pluralign.options.features import FeatureStore
    from pluralign.options.option_reward import OptionRewardPosterior
    from pluralign.options.values import ValuePolicy

Kind = TypeVar("Kind", bound=Policy)

DEFAULT_MODEL = "smollm2-135m"
"""Default language model of all verbs and workflows."""


@dataclass
class Models:
    """A language model and its features of decisions, loaded when first used.

    Args:
        model: Hub id, local folder or ``smollm2-135m``.
        features: Folder in which features are kept between runs; None keeps them in memory.
        dtype: Precision of the language model.

    Examples:
        >>> import pluralign as pl
        >>> first = pl.Decision("You stand at a door.", ("Open it.", "Leave."))
        >>> pl.Models("tiny-random").store.get([first])[0].features.shape
        (2, 64)
    """

    model: str = DEFAULT_MODEL
    features: str | Path | None = None
    dtype: DTypeName = "auto"
    _others: dict[tuple[str, str], Models] = field(
        default_factory=dict[tuple[str, str], "Models"], init=False, repr=False, compare=False
    )

    @cached_property
    def language_model(self) -> LanguageModel:
        """The language model."""
        from pluralign.lm.backbone import load_backbone, resolve_dtype
        from pluralign.lm.language_model import LanguageModel

        dtype = None if self.dtype == "auto" else resolve_dtype(self.dtype)
        return LanguageModel(load_backbone(self.model, dtype=dtype))

    @cached_property
    def store(self) -> FeatureStore:
        """Features of the language model, computed once per decision."""
        from pluralign.options.features import FeatureStore

        features = None if self.features is None else in_home(self.features)
        return FeatureStore(self.language_model.backbone, features)

    def of(self, model: str, dtype: DTypeName | None = None) -> Models:
        """This object if it has the named model, else the named model with the same folder of features.

        Args:
            model: Hub id, local folder or built-in name.
            dtype: Precision of the model; this object's by default.
        """
        from pluralign.folders.backbones import same_model

        precision = _precision(model, dtype or self.dtype)
        if same_model(model, self.model) and precision == _precision(model, self.dtype):
            return self
        # Policies that share another model share its features.
        return self._others.setdefault((model, precision), Models(model, self.features, precision))

    def of_folder(self, folder: Path, content: Mapping[str, Any]) -> Models:
        """The models of a trained policy, in the precision of its training: this object, or others with the
        same folder of features.

        Raises:
            InputError: The model is not there.
        """
        from pluralign.folders.backbones import model_places

        described: Mapping[str, Any] = content["backbone"]
        name, expected = described.get("name"), described.get("fingerprint")
        if name is None:
            return self
        dtype: Any = described.get("dtype")
        dtype = dtype if dtype in get_args(DTypeName) else None
        places = [self.model] if name == self.model else model_places(folder, content)
        found = [self.of(place, dtype) for place in places]
        # Several candidates are distinguished by their fingerprints.
        right = (one for one in found[:-1] if one.store.fingerprint == expected)
        return next(right, found[-1])


def _precision(model: str, dtype: DTypeName) -> DTypeName:
    """The precision in which a model is loaded."""
    from pluralign.lm.backbone import TINY_RANDOM, resolve_dtype

    if dtype == "auto" and model == TINY_RANDOM:
        return "float32"
    named: Any = str(resolve_dtype(dtype)).removeprefix("torch.")
    return named


def _random(models: Models) -> Policy:
    return UniformPolicy()


NAMED_POLICIES: dict[str, Callable[[Models], Policy]] = {"random": _random}
"""Policies that need neither a folder nor a language model."""


def open_policy(name: str, models: Models, *, temperature: float = 1.0) -> Policy:
    """Open a policy that chooses among listed options.

    Args:
        name: ``random``, a trained policy's folder, or a language model, which chooses options in proportion
            to their likelihood.
        models: Language model and features, used if they match the policy's own.
        temperature: Temperature of a language model's choice.

    Raises:
        InputError: There is no such policy.
    """
    if name in NAMED_POLICIES:
        return NAMED_POLICIES[name](models)
    folder = Path(name)
    if (folder / "card.json").exists():
        return open_trained(folder, models)
    from pluralign.options.language_policy import LanguageModelPolicy

    own = models.of(name)
    return LanguageModelPolicy(own.language_model, own.store, temperature=temperature)


def load_agents(
    policies: Mapping[str, str | Path | Policy], models: Models | None = None
) -> dict[str, Policy]:
    """Open the agent of each objective: a policy that chooses among a story's options.

    A model of values for any weights, which may be given for several objectives, is opened once and pursues
    each of them alone.

    Args:
        policies: Agent of each objective: a folder that `fit_cpl`, `fit_q`, `fit_bc` or `fit_story_rl` wrote,
            the name of a language model, which chooses options by their likelihood, ``random``, or a policy.
        models: Language model and features, used if they match the policy's own.

    Raises:
        InputError: There is no such policy.

    Examples:
        >>> import pluralign as pl
        >>> agents = pl.load_agents({"score": "tiny-random", "harm_avoidance": "random"})
        >>> agents["harm_avoidance"].name
        'random'
    """
    from pluralign.options.values import for_objective

    models = models or Models()
    known: dict[str, Policy] = {}
    opened: dict[str, Policy] = {}
    for objective, given in policies.items():
        if isinstance(given, str | Path):
            if str(given) not in known:
                known[str(given)] = open_policy(str(given), models)
            given = known[str(given)]
        require_policy(given, f"policies.{objective}")
        opened[objective] = for_objective(given, objective)
    return opened


def open_values(given: Path | Mapping[str, Path], models: Models) -> ValuePolicy | dict[str, ValuePolicy]:
    """Open values that `learn q` learned: a model of any weights, or the agent of each objective.

    Args:
        given: Folder of the model, or of each agent.
        models: Language model and features, used if they match the policy's own.

    Raises:
        InputError: A folder holds no values.
    """
    from pluralign.options.values import ValuePolicy

    folders = {"": given} if isinstance(given, Path) else dict(given)
    opened: dict[str, ValuePolicy] = {}
    for name, policy in load_agents(folders, models).items():
        if not isinstance(policy, ValuePolicy):
            raise InputError("holds no values; expected a folder that learn q wrote", path=folders[name])
        opened[name] = policy
    return opened[""] if isinstance(given, Path) else opened


@overload
def open_trained(folder: Path, models: Models) -> Policy: ...
@overload
def open_trained(
    folder: Path, models: Models, kind: type[Kind], *, refusal: str = ..., field: str | None = None
) -> Kind: ...
def open_trained(
    folder: Path, models: Models, kind: type[Any] | None = None, *,
    refusal: str = "holds a policy of another kind", field: str | None = None,
) -> Policy:  # fmt: skip
    """Open the trained policy in a folder, on the language model named on its card. Of a posterior over
    rewards (`learn avril`) it is the policy of the demonstrator.

    Args:
        folder: Folder of the policy.
        models: Language model and features, used if they match the policy's own.
        kind: Class that the policy has to be of; None for any.
        refusal: What the error says of a policy of another class.
        field: Argument that named the folder, for the error.

    Raises:
        InputError: The folder holds no policy, or one of another class.
    """
    found = _trained(folder, models)
    if kind is not None and not isinstance(found, kind):
        raise InputError(refusal, path=folder, field=field)
    return found


def _trained(folder: Path, models: Models) -> Policy:
    from pluralign.folders.card import read_card
    from pluralign.options import checkpoint, drrn, option_reward, values

    content = read_card(folder)
    store = models.of_folder(folder, content).store
    if content["pluralign"] == drrn.KIND:
        return drrn.DRRNPolicy.load(folder, store)
    if content["pluralign"] == values.KIND:
        return values.ValuePolicy.load(folder, store)
    if content["pluralign"] == option_reward.KIND:
        return option_reward.load_option_reward(folder, store)
    return checkpoint.load_policy(folder, store)


def open_option_reward(folder: Path, features: Path | None = None) -> OptionRewardPosterior:
    """Open the reward posterior in a folder, on the language model named on its card.

    Raises:
        InputError: The folder holds none.
    """
    from pluralign.folders.card import read_card
    from pluralign.options.option_reward import KIND, load_option_reward

    models = Models(DEFAULT_MODEL, features).of_folder(folder, read_card(folder, KIND))
    return load_option_reward(folder, models.store)
