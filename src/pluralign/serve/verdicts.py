"""Whether weights that were inferred from choices decide between the answers to a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pluralign.core import Decision, InputError, SteeringWeights
from pluralign.core.choice import Question
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.verdict import decide
from pluralign.lm.decoding import Decoding
from pluralign.serve.answers import Answer
from pluralign.serve.submission import DecodingFailed, Engine, QueueFull
from pluralign.steer.prompt_encoder import PromptEncoder
from pluralign.steer.requests import Request

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswerVerdict:
    """What inferred weights say about a request's answers.

    Args:
        decided: Whether they leave one answer to each prompt; None if that could not be computed.
        undominated: Indices of the answers that they leave.
    """

    decided: bool | None
    undominated: tuple[int, ...]

    def fields(self) -> dict[str, Any]:
        """Fields of the response."""
        return {"decided": self.decided, "undominated": list(self.undominated)}


class AnswerVerdicts:
    """Compares answers to one prompt as if they were listed options.

    The value of an answer for an objective is its log-probability under that objective's policy, of all
    tokens together: weighted sums of these rank the answers as the geometric mean of the policies does. The
    policies read each answer once more.

    Args:
        inferred: Posterior of the weights.
        deployment: The policies.
    """

    def __init__(self, inferred: WeightPosterior, deployment: PromptEncoder) -> None:
        # The weights act on log-probabilities of policies, whose scale is 1.
        self._inferred = replace(inferred, scales=dict.fromkeys(inferred.objectives, 1.0))
        self._deployment = deployment

    async def of(self, answer: Answer, engine: Engine, seconds: float) -> AnswerVerdict:
        """The verdict on answers that are complete.

        Args:
            answer: Answers, several per prompt.
            engine: Engine that decodes.
            seconds: Time limit, after which nothing is said.
        """
        size, places = answer.request.per_prompt, range(len(answer.choices))
        try:
            read = await asyncio.to_thread(self._read, answer)
            async with asyncio.timeout(seconds):
                values = [await self._values(engine, ids, start, seconds) for ids, start in read]
            groups = [places[first : first + size] for first in places[::size]]
            left = [await asyncio.to_thread(self._left, answer.texts, values, group) for group in groups]
        except (TimeoutError, QueueFull, DecodingFailed, InputError) as error:
            _log.warning("no verdict on %d answers: %s", len(places), error or type(error).__name__)
            return AnswerVerdict(None, tuple(places))
        decided = all(len({answer.texts[place] for place in own}) == 1 for own in left)
        return AnswerVerdict(decided, tuple(place for own in left for place in own))

    def _read(self, answer: Answer) -> list[tuple[list[int], int]]:
        """Token ids of each prompt with its answer, and the answer's place. The token that ends an answer
        counts where all answers ended by themselves: none was cut off, and none by a stop text of the
        request, after which nobody wrote that token."""
        known = self._deployment
        chat, found = answer.request.kind != "completions", list[tuple[list[int], int]]()
        own_stops = set(answer.request.samples[0].decoding.stop) - set(known.stops if chat else ())
        ended = not own_stops and all(reason != "length" for reason in answer.finish_reasons)
        for sample, text in zip(answer.request.samples, answer.texts, strict=True):
            own = known.answer_ids(sample.lead + text, sample.prompt_ids, chat=chat, ended=ended)
            found.append(([*sample.prompt_ids, *own], len(sample.prompt_ids)))
        return found

    async def _values(
        self, engine: Engine, ids: Sequence[int], start: int, seconds: float
    ) -> dict[str, float]:
        """Log-probability of the tokens from this place on under each policy."""
        names = self._inferred.objectives
        submission = engine.submit(
            [
                Request(
                    ids, SteeringWeights({name: 1.0}), Decoding(max_new_tokens=1), alternatives=0,
                    prompt_log_probs=True, silent=True,
                )
                for name in names
            ]
        )  # fmt: skip
        found: dict[str, float] = {}
        try:
            async for place, event in submission.events(seconds):
                if event.prompt is not None:
                    found[names[place]] = sum(one.log_prob for one in event.prompt[start:] if one is not None)
        finally:
            engine.cancel(submission)
        return found

    def _left(self, texts: Sequence[str], values: Sequence[Mapping[str, float]], group: range) -> list[int]:
        """Places of the answers of a prompt that the weights leave."""
        by_text = {texts[place]: values[place] for place in group}
        if len(by_text) == 1:
            return list(group)
        question = Question(Decision("", tuple(by_text)), tuple(by_text.values()))
        options = list(by_text)
        kept = {options[place] for place in decide(self._inferred, question).undominated}
        return [place for place in group if texts[place] in kept]
