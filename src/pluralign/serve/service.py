"""State of a server: policies, limits, access rules, decoding engine and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from pluralign.core import InputError, SteeringWeights
from pluralign.elicit.posterior import WeightPosterior
from pluralign.serve.api import ParsedRequest, RequestParser
from pluralign.serve.ask import Asker
from pluralign.serve.audit import Audit
from pluralign.serve.engine import DecodingEngine
from pluralign.serve.errors import Refused
from pluralign.serve.inferred import intervals_of, require_served
from pluralign.serve.log_probs import TokenTexts
from pluralign.serve.metrics import Metrics
from pluralign.serve.pace import Pace
from pluralign.serve.records import RequestRecord, client_of, reason_of, refusal_row
from pluralign.serve.relevance import RequestRelevance
from pluralign.serve.rewards import AnswerScorers
from pluralign.serve.settings import Access, Limits
from pluralign.serve.story import StoryPlayer
from pluralign.serve.submission import Engine
from pluralign.serve.verdicts import AnswerVerdicts
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policies import Policies
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.reading_pace import ReadingPace
from pluralign.steer.request_weights import WeightsProvider

_log = logging.getLogger(__name__)


@dataclass
class Service:
    """The state that all handlers of a server share.

    Args:
        deployment: The policies that are served.
        limits: Limits of a request and of all requests together.
        access: Access rules.
        weights: Default steering weights, for requests without any; uniform if None.
        audit: File that gets a line at the start and one at the end of each text request, and one per
            refusal.
        rewards: Reward models for the page.
        story: Story for the page.
        fronts: Results of sweeps for the page, by tab: "chat" or "story".
        make_engine: Function that makes the engine that decodes, from the limits; by default the policies are
            decoded in this process.
        presets: Steering weights by name, which requests ask for as ``MODEL@NAME``.
        provider: Provider of weights for requests that have a wish or leave the weights to the server.
        asker: Questions whose answers determine weights.
        inferred: Default weights that were inferred from choices, instead of ``weights``.
        relevance: Factors on the weights of requests that ask for them, by what is at stake in their prompts.

    Raises:
        InputError: Questions or inferred weights are for other objectives than those served, or default
            weights are given twice.
    """

    deployment: PromptEncoder
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)
    weights: SteeringWeights | None = None
    audit: Audit | None = None
    rewards: AnswerScorers | None = None
    story: StoryPlayer | None = None
    fronts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    make_engine: Callable[[Limits], Engine] | None = None
    presets: Mapping[str, SteeringWeights] = field(default_factory=dict[str, SteeringWeights])
    provider: WeightsProvider | None = None
    asker: Asker | None = None
    inferred: WeightPosterior | None = None
    relevance: RequestRelevance | None = None

    def __post_init__(self) -> None:
        names = self.deployment.objectives
        served = {"policies": names} | ({"story": self.story.names} if self.story else {})
        if self.asker is not None:
            require_served(self.asker.objectives, served, "ask")
        default, self.intervals, self.verdicts = self.weights, None, None
        if self.inferred is not None:
            require_served(self.inferred.objectives, served, "default_weights")
            if self.weights is not None:
                raise InputError("is given together with other default weights", field="default_weights")
            if set(self.inferred.objectives) == set(names):
                default, self.intervals = self.inferred.mean, intervals_of(self.inferred, names)
                # vLLM reports no log-probabilities of prompts.
                if self.make_engine is None and self.deployment.power == GEOMETRIC:
                    self.verdicts = AnswerVerdicts(self.inferred, self.deployment)
        self.parser = RequestParser(self.deployment, self.limits, default, self.presets, self.provider)
        self.token_texts = TokenTexts(self.deployment.tokenizer)
        self.engine = (self.make_engine or self._own_engine)(self.limits)
        self.metrics, self.pace = Metrics(), Pace(self.limits.running)

    @property
    def kind(self) -> str:
        """How the policies are held, in words."""
        if isinstance(self.deployment, Policies) and self.deployment.headed:
            return "heads on one model"
        return "adapters of one model" if self.deployment.shared else "whole models"

    def intervals_of(self, weights: SteeringWeights) -> Mapping[str, Sequence[float]] | None:
        """90 % intervals of a request's weights; None if they are its own, or not inferred."""
        return self.intervals if weights is self.parser.mixes.default else None

    def verdicts_on(self, request: ParsedRequest) -> AnswerVerdicts | None:
        """What compares the answers to a request; None if its weights are its own or not inferred, or there
        is nothing to compare."""
        alone = request.per_prompt < 2 or request.stream or request.samples[0].silent
        return None if alone or self.intervals_of(request.weights) is None else self.verdicts

    def _own_engine(self, limits: Limits) -> Engine:
        if not isinstance(self.deployment, Policies):
            raise TypeError("policies that are not in this process need an engine of their own")
        self.deployment.rows.cache_prefixes(limits.cached_tokens)
        decoder = MixtureDecoder(self.deployment.rows, self.deployment.power, limits.prefill, ReadingPace())
        return DecodingEngine(decoder, limits.running, limits.queue, limits.prefill)

    def begin(self, record: RequestRecord) -> None:
        """Write the line at the start of a text request.

        Raises:
            Refused: Status 503; the line is required, and could not be written.
        """
        if self.audit is not None and not self._written(
            lambda audit: audit.write(record.beginning(), record.request_texts())
        ):
            self._require_audit()
        record.accepted = True
        self.pace.begun()

    def note(self, scope: Scope, row: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
        """Write the line of a request that is neither for text nor refused.

        Raises:
            Refused: Status 503; the line is required, and could not be written.
        """
        whole = {**row, **client_of(scope)}
        if not self._written(lambda audit: audit.write(whole, texts)):
            self._require_audit()

    def finish(self, record: RequestRecord) -> None:
        """Count a text request that has ended, and write its line to the audit file."""
        row = record.end()
        if record.accepted:
            # Nobody has read the prompt of a request that was refused.
            self.metrics.tokens["prompt"] += row["prompt_tokens"]
            self.metrics.tokens["completion"] += row["completion_tokens"]
        if record.status == 200:
            self.metrics.latency.observe(row["milliseconds"] / 1000)
        if record.first_token is not None:
            self.metrics.first_token.observe(record.first_token)
        if record.accepted:
            self.pace.finished(row["samples"], row["milliseconds"] / 1000)
            self._written(lambda audit: audit.write(row, record.answer_texts()))
        else:
            self._written(lambda audit: audit.refused(row))

    def refuse(self, scope: Scope, status: int, refused: Refused) -> None:
        """Write the line of a refused request that is not a text request."""
        row = refusal_row(scope, status, self.reason(refused))
        self._written(lambda audit: audit.refused(row))

    def reason(self, refused: Refused) -> str:
        """Why a request was refused, as the audit file says it."""
        fields = {name for schema in self.parser.schemas.values() for name in schema["properties"]}
        return reason_of(refused, fields, texts=self.audit is not None and self.audit.texts)

    def audit_failure(self) -> str | None:
        """Why the audit file cannot be written, None if it can or there is none.

        Raises:
            Refused: Status 503; the file is required.
        """
        failure = None if self.audit is None else self.audit.check()
        if failure is not None:
            self._require_audit()
        return failure

    def _require_audit(self) -> None:
        if self.audit is not None and self.audit.required:
            raise Refused(
                503, "the audit file cannot be written, and every request must have its lines",
                code="audit_failed", headers={"Retry-After": "10"},
            )  # fmt: skip

    def _written(self, write: Callable[[Audit], None]) -> bool:
        if self.audit is None:
            return True
        try:
            write(self.audit)
        except OSError as error:
            self.metrics.audit_failures += 1
            _log.error("writing to the audit file failed: %s", error.strerror or error)
            return False
        return True
