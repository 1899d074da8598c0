"""Blockwise guided decoding: the best of several continuations of each block, drawn from one cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from pluralign.core import InputError
from pluralign.core.messages import Prompt
from pluralign.core.splits import seed_for
from pluralign.lm.partial_text import PartialText
from pluralign.lm.text_blocks import BlockEnds
from pluralign.steer.block_guides import Blocks, Draft
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.mixture_batch import MixtureBatch
from pluralign.steer.policy_rows import HeldRow, PolicyRows
from pluralign.steer.prediction import Entry, Prediction
from pluralign.steer.requests import FinishReason, Request, fits
from pluralign.steer.running import Admission, RunningRequest, next_event


@dataclass(frozen=True)
class BlockAnswer:
    """An answer that was written block by block.

    Args:
        text: The answer.
        finish_reason: Reason for its end; see `Event`.
        tokens: Number of its tokens.
        drawn: Number of tokens that were sampled for it, those of rejected draws included.
    """

    text: str
    finish_reason: FinishReason
    tokens: int
    drawn: int


class _Uniforms:
    """Random numbers of one draw after the other; a number that was used is not used again.

    The first block's numbers are those of a request with this seed.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._ahead: Float[np.ndarray, " _"] = np.empty(0)

    def ahead(self, count: int) -> Float[np.ndarray, " _"]:
        if (missing := count - len(self._ahead)) > 0:
            self._ahead = np.concatenate([self._ahead, self._rng.random(missing)])
        return self._ahead[:count]

    def use(self, count: int) -> None:
        self._ahead = self._ahead[count:]


@dataclass
class _Answer:
    """An answer between two blocks: its text so far, and random numbers of each draw."""

    number: int
    prompt: Prompt
    one: RunningRequest
    uniforms: list[_Uniforms]
    text: PartialText
    certain: str = ""
    drawn: int = 0
    ended: list[_Draw] = field(default_factory=lambda: list[_Draw]())

    @property
    def left(self) -> int:
        """Largest number of tokens that follow."""
        return self.one.request.decoding.max_new_tokens - len(self.text.ids)


@dataclass
class _Draw:
    """One continuation of a block."""

    answer: _Answer
    place: int
    text: PartialText
    certain: str
    start: int
    uniforms: Float[np.ndarray, " _"]
    ends: BlockEnds
    finish: FinishReason | None = None
    held: Sequence[HeldRow] = ()

    @property
    def count(self) -> int:
        """Number of tokens of the block so far."""
        return len(self.text.ids) - self.start

    @property
    def draft(self) -> Draft:
        """The answer with this block, for the guides."""
        request = self.answer.one.request
        return Draft(
            self.answer.prompt, self.certain, self.finish is not None, request.prompt_ids,
            tuple(self.text.ids), self.start,
        )  # fmt: skip


class BlockDecoder:
    """Continues prompts with mixtures of policies, and keeps the best of several draws of each block.

    Args:
        rows: The policies, for this use alone.
        blocks: Guides and sizes.
        power: Power of the mixture (`mixing.mix_log_probs`).

    Raises:
        InputError: A guide cannot be loaded or has another vocabulary.
    """

    def __init__(self, rows: PolicyRows, blocks: Blocks, power: float = GEOMETRIC) -> None:
        self.rows, self.blocks, self.power = rows, blocks, power
        self._admission = Admission(rows)
        self._running: dict[int, _Draw] = {}
        self._batch: MixtureBatch | None = None
        self._count = 0
        if blocks.draws > 1:
            blocks.scores.require_fit(rows.backbone)

    def answers(self, asked: Sequence[tuple[Prompt, Request]]) -> Iterator[tuple[int, BlockAnswer]]:
        """Answers to prompts as they are finished, each with the number of its prompt.

        An answer depends on its own prompt, weights and seed. The keys and values of a prompt and of the
        blocks that are kept are computed once.

        Args:
            asked: Prompts, as the guides read them, with their requests.

        Raises:
            InputError: See `MixtureDecoder.admit`; rules or log-probabilities are asked for; or temperature 0
                with several draws, which would be the same.
        """
        waiting = deque(self._answer(number, *one) for number, one in enumerate(asked))
        try:
            while waiting or self._running:
                ended = [*self._admit(waiting), *self._step()]
                for answer in self._ended(ended):
                    found = self._keep_best(answer)
                    if found is not None:
                        yield answer.number, found
        finally:
            self.rows.release(set(self._running))
            self._running, self._batch = {}, None

    def _answer(self, number: int, prompt: Prompt, request: Request) -> _Answer:
        if request.rules or request.alternatives is not None or request.prompt_log_probs:
            raise InputError("blocks have no token rules and report no log-probabilities", field="block")
        self.blocks.require_sampling(request.decoding)
        draws = self.blocks.draws
        one = self._admission.check(request)
        seeds = [request.seed, *(seed_for(f"draw {i}", request.seed) for i in range(1, draws))]
        return _Answer(number, prompt, one, [_Uniforms(seed) for seed in seeds], one.text)

    def _admit(self, waiting: deque[_Answer]) -> list[_Draw]:
        """Read the next prompts that fit, and sample the first tokens of their draws."""
        active = list({draw.answer.number: draw.answer for draw in self._running.values()}.values())
        new: list[_Answer] = []
        while waiting:
            every = [*active, *new, waiting[0]]
            rows = [self.blocks.draws * len(answer.one.policies) for answer in every]
            tokens = [n * len(a.one.request.prompt_ids) for n, a in zip(rows, every, strict=True)]
            if len(every) > 1 and not fits(sum(rows), sum(tokens)):
                break
            new.append(waiting.popleft())
        if not new:
            return []
        draws = {number: draw for answer in new for number, draw in self._draws(answer).items()}
        entries = [
            (number, policy, draw.answer.one.request.prompt_ids)
            for number, draw in draws.items()
            for policy in draw.answer.one.policies
        ]
        self._running |= draws
        found = self.rows.admit(entries)
        return self._sample(self._batch_of(draws, [entry[:2] for entry in entries], found), found)

    def _step(self) -> list[_Draw]:
        """Sample the next token of every draw; those that end their block are taken out."""
        if not self._running:
            return []
        found = self.rows.step({number: draw.text.ids[-1] for number, draw in self._running.items()})
        numbers, rows = list(self._running), list(self.rows.order)
        if self._batch is None or (self._batch.requests, self._batch.rows) != (numbers, rows):
            self._batch = self._batch_of(self._running, rows, found)
        return self._sample(self._batch, found)

    def _batch_of(self, draws: Mapping[int, _Draw], rows: Sequence[Entry], found: Prediction) -> MixtureBatch:
        return MixtureBatch(
            list(draws), rows, [draws[number].answer.one.policies[policy] for number, policy in rows],
            [draw.answer.one.request.decoding for draw in draws.values()],
            [draw.uniforms[draw.count :] for draw in draws.values()], found.device,
            [None] * len(draws), [None] * len(draws),
        )  # fmt: skip

    def _sample(self, batch: MixtureBatch, found: Prediction) -> list[_Draw]:
        """Append a token to each draw of a batch; the draws that ended their block."""
        ended: list[_Draw] = []
        for number, (token, _) in zip(batch.requests, batch.choose(found, self.power), strict=True):
            draw = self._running[number]
            most = draw.answer.one.request.decoding.max_new_tokens
            event = next_event(number, token, draw.text, self._admission.stops, most)
            draw.certain += event.text
            draw.finish = event.finish_reason
            if draw.ends.add(token) or draw.count == self.blocks.tokens or draw.finish is not None:
                ended.append(draw)
                del self._running[number]
                if draw.finish is None:
                    draw.held = self.rows.hold(number)
                else:
                    self.rows.release({number})
        return ended

    def _ended(self, draws: Sequence[_Draw]) -> list[_Answer]:
        """Answers of which all draws have ended their block."""
        for draw in draws:
            draw.answer.ended.append(draw)
        answers = {draw.answer.number: draw.answer for draw in draws}.values()
        return [answer for answer in answers if len(answer.ended) == self.blocks.draws]

    def _keep_best(self, answer: _Answer) -> BlockAnswer | None:
        """Continue the best draw; the whole answer if it is finished."""
        draws = sorted(answer.ended, key=lambda draw: draw.place)
        answer.ended = []
        for draw, uniforms in zip(draws, answer.uniforms, strict=True):
            uniforms.use(draw.count)
            answer.drawn += draw.count
        scores = self.blocks.scores([draw.draft for draw in draws]) if len(draws) > 1 else [0.0]
        best = draws[int(np.argmax(scores))]
        answer.text, answer.certain = best.text, best.certain
        if best.finish is not None:
            return BlockAnswer(best.certain, best.finish, len(best.text.ids), answer.drawn)
        draws = self._draws(answer)
        self.rows.resume(best.held, list(draws))
        self._running |= draws
        return None

    def _draws(self, answer: _Answer) -> dict[int, _Draw]:
        """Draws of an answer's next block, under new numbers."""
        first, self._count = self._count, self._count + self.blocks.draws
        start, tokenizer = len(answer.text.ids), self.rows.backbone.tokenizer
        return {
            first + place: _Draw(
                answer, place, answer.text.copy(), answer.certain, start, uniforms.ahead(answer.left),
                BlockEnds(tokenizer, self.blocks.end),
            )
            for place, uniforms in enumerate(answer.uniforms)
        }  # fmt: skip
