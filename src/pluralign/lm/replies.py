"""Replies that are parsed: questions to a model that are asked again where a reply is malformed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Message = Mapping[str, str]
Chat = Sequence[Message] | str
Parsed = TypeVar("Parsed")
_KEPT = 500
"""Maximum number of characters of a malformed reply that are kept."""


def said(reply: str) -> str:
    """What a reply says after ``</think>``; nothing if it was cut off while the model was still thinking.

    >>> said("<think>Is it A?</think> B"), said("<think>A is better, but")
    (' B', '')
    """
    after = reply.rpartition("</think>")[2]
    return "" if "<think>" in after else after


class Writer(Protocol):
    """Writes replies: a `pluralign.lm.language_model.LanguageModel`, or an `Endpoint`."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def generate(
        self, chats: Sequence[Chat], *, max_new_tokens: int, temperature: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:  # fmt: skip
        """Generate one reply per chat, which depends on the chat and its seed only."""
        ...


@dataclass
class Question(Generic[Parsed]):
    """A question, its answer, and the malformed replies before it.

    Args:
        text: The question.
        parse: Function from a reply to its meaning, or None where it has none.
        reminder: Message that follows a malformed reply.
        seed: Function from the number of the attempt to the seed of the reply.
        malformed: Malformed replies, cut.
        answer: Meaning of the last reply; None without a usable one.
    """

    text: str
    parse: Callable[[str], Parsed | None]
    reminder: str
    seed: Callable[[int], int]
    malformed: list[str] = field(default_factory=list[str])
    answer: Parsed | None = None

    def chat(self) -> list[Message]:
        """The question, and each malformed reply with the reminder."""
        turns: list[Message] = [{"role": "user", "content": self.text}]
        for reply in self.malformed:
            turns += [{"role": "assistant", "content": reply}, {"role": "user", "content": self.reminder}]
        return turns


@dataclass(frozen=True, eq=False)
class Replies:
    """A writer, and how it is asked.

    Args:
        writer: Model that generates the replies.
        re_asks: Number of times to ask again after a malformed reply.
        max_new_tokens: Largest number of tokens of a reply.
        temperature: Sampling temperature of the replies.
    """

    writer: Writer
    re_asks: int
    max_new_tokens: int
    temperature: float

    @property
    def settings(self) -> dict[str, int | float]:
        """Settings that the replies depend on, beside the writer."""
        return {
            "re_asks": self.re_asks,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }

    def ask(self, questions: Sequence[Question[Parsed]]) -> None:
        """Ask all questions together, and those with malformed replies again; their answers and malformed
        replies are set.

        Raises:
            InputError: The endpoint does not answer.
        """
        for attempt in range(self.re_asks + 1):
            waiting = [question for question in questions if question.answer is None]
            if not waiting:
                break
            replies = self.writer.generate(
                [question.chat() for question in waiting],
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seed=[question.seed(attempt) for question in waiting],
            )
            for question, reply in zip(waiting, replies, strict=True):
                question.answer = question.parse(reply)
                if question.answer is None:
                    question.malformed.append(reply[:_KEPT])
