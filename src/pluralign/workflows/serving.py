"""A service from folders and files: checked at once, and opened when its models may be loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pluralign.core import InputError, SteeringWeights
from pluralign.data.choices import load_questions
from pluralign.data.objectives import load_objectives
from pluralign.elicit.saved import load_posterior
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.open import load_rewards
from pluralign.serve.ask import Asker
from pluralign.serve.fronts import read_fronts
from pluralign.serve.inferred import require_served
from pluralign.serve.options import AuditOptions, DecodingOptions, PageOptions, WeightOptions
from pluralign.serve.relevance import RequestRelevance
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.service import Service
from pluralign.serve.settings import Access, Limits
from pluralign.serve.story import StoryPlayer, open_story_player
from pluralign.serve.submission import Engine
from pluralign.steer.policies import load_policies
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.relevance import open_relevance
from pluralign.steer.suggest import open_provider
from pluralign.vllm.launch import read_engine_args, require_vllm
from pluralign.vllm.policies import start_vllm


@dataclass
class ServiceParts:
    """What a service is opened from. Files are read and options checked when this is made; models are loaded
    by `open`.

    >>> parts = ServiceParts({"one": "tiny-random"}, "tiny-random", weights={"one": 1.0})
    >>> parts.open().deployment.objectives
    ('one',)

    Args:
        policies: Folder of each policy, by objective.
        model: Base model of the policies: ``smollm2-135m``, a hub id or a local folder.
        weights: Default weights, for requests without any; equal if None.
        presets: Weights by name, for requests to the model MODEL@NAME.
        rewards: Reward of each objective for the page, as `load_reward` takes it.
        story_policies: Folder of each policy of the page's story, by objective.
        sources: Options of where other weights come from.
        page: Options of the page.
        decoding: Options of the mixture and of the engine.
        audit: Options of the audit file.
        access: Access rules.
        limits: Limits of requests.

    Raises:
        InputError: A file cannot be read, options do not go together, or questions, weights, sweeps or
            suggestions are for other objectives than those that are served.
    """

    policies: Mapping[str, str | Path]
    model: str = DEFAULT_MODEL
    weights: Mapping[str, float] | None = None
    presets: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    rewards: Mapping[str, str] = field(default_factory=dict[str, str])
    story_policies: Mapping[str, str | Path] = field(default_factory=dict[str, str | Path])
    sources: WeightOptions = field(default_factory=WeightOptions, kw_only=True)
    page: PageOptions = field(default_factory=PageOptions, kw_only=True)
    decoding: DecodingOptions = field(default_factory=DecodingOptions, kw_only=True)
    audit: AuditOptions = field(default_factory=AuditOptions, kw_only=True)
    access: Access = field(default_factory=Access, kw_only=True)
    limits: Limits = field(default_factory=Limits, kw_only=True)

    def __post_init__(self) -> None:
        sources, page, names = self.sources, self.page, tuple(self.policies)
        self.policies = {name: Path(folder) for name, folder in self.policies.items()}
        self.story_policies = {name: Path(folder) for name, folder in self.story_policies.items()}
        self.inferred = sources.default_weights and load_posterior(sources.default_weights)
        self._asker = page.ask and Asker(load_questions(page.ask), page.ask_questions)
        if (page.story is None) != (not self.story_policies):
            raise InputError("--story and --story-policies must be given together", field="story")
        if page.ask is None and page.ask_questions != PageOptions.ask_questions:
            raise InputError("is for --ask FILE", field="ask_questions")
        if page.story is None and page.features is not None:
            raise InputError("is for --story", field="features")
        if (sources.relevance is None) != (sources.principles is None):
            raise InputError("--relevance and --principles must be given together", field="relevance")
        self._principles = sources.principles and load_objectives(sources.principles)
        story = tuple(self.story_policies)
        served = {"policies": names} | ({"story": story} if story else {})
        for option, known in (("default_weights", self.inferred), ("ask", self._asker)):
            if known is not None:
                require_served(known.objectives, served, option)
        for weights in (self.weights, *self.presets.values()):
            if weights is not None:
                SteeringWeights(weights).require_known(names)
        if self.weights is not None and self.inferred is not None:
            raise InputError("is given together with --weights", field="default_weights")
        if sources.implied_dial and self.inferred is None:
            raise InputError("needs --default-weights weights.json", field="implied_dial")
        self._provider = sources.suggest and open_provider(sources.suggest)
        if self._provider is not None and set(self._provider.objectives) != set(names):
            raise InputError(
                f"is for {', '.join(self._provider.objectives)}; served are {', '.join(names)}",
                field="suggest",
            )
        self._fronts = read_fronts(page.sweep, names, story)
        if self.decoding.engine_args and self.decoding.engine != "vllm":
            raise InputError("is for --engine vllm", field="engine_args")
        self.audit.require_file()

    def open(self) -> Service:
        """Load the policies and everything else, and make the service; `serve.run.run_server` runs it.

        Raises:
            InputError: A model cannot be loaded, or the audit file cannot be written; or see `Service`.
        """
        deployment, make_engine = self._deployment()
        return Service(
            deployment,
            self.limits,
            self.access,
            None if self.weights is None else SteeringWeights(self.weights),
            self.audit.opened(),
            AnswerScorers(load_rewards(self.rewards)) if self.rewards else None,
            self._story(),
            self._fronts,
            make_engine,
            {name: SteeringWeights(mix) for name, mix in self.presets.items()},
            asker=self._asker,
            inferred=self.inferred,
            relevance=self._relevance(),
            provider=self._provider,
        )

    def _deployment(self) -> tuple[PromptEncoder, Callable[[Limits], Engine] | None]:
        own, dtype = self.decoding, self.decoding.dtype
        options: Any = {"power": own.power, "template": own.template, "control_tokens": own.control_tokens}
        folders = {name: Path(folder) for name, folder in self.policies.items()}
        if own.engine == "own":
            return load_policies(self.model, folders, dtype=dtype, **options), None
        require_vllm()
        arguments = {"dtype": dtype, **read_engine_args(own.engine_args)}
        return start_vllm(self.model, folders, arguments, self.limits, **options)

    def _story(self) -> StoryPlayer | None:
        page, sources = self.page, self.sources
        if page.story is None:
            return None
        folders = {name: Path(folder) for name, folder in self.story_policies.items()}
        dial = sources.default_weights if sources.implied_dial else None
        return open_story_player(page.story, folders, self.decoding.power, page.features, self.inferred, dial)

    def _relevance(self) -> RequestRelevance | None:
        if self.sources.relevance is None or self._principles is None:
            return None
        estimator = open_relevance(self.sources.relevance, self._principles)
        return RequestRelevance(estimator, tuple(self.policies))
