"""One answer of several to a request, while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pluralign.serve.api import ParsedRequest
from pluralign.serve.log_probs import TokenTexts, chat_log_probs, completion_log_probs
from pluralign.serve.tool_calls import ToolText
from pluralign.steer.requests import Event, Request, TokenLogProb


class Choice:
    """An answer in the format of OpenAI's API.

    Args:
        request: The request that is answered.
        sample: The sample of the request.
        texts: Texts of single tokens.
        echo: Tokens of the prompt with which its text begins.
    """

    def __init__(
        self, request: ParsedRequest, sample: Request, texts: TokenTexts, echo: Sequence[int] = ()
    ) -> None:  # fmt: skip
        self._request, self._sample, self._texts = request, sample, texts
        self._chat = request.kind != "completions"
        self._tools = request.tools and ToolText(request.tools.format, request.tools.names)
        self._echo, self._echoed = echo, texts.text(echo) if echo else ""
        self._begun = False
        # Numbers of log-probabilities that belong to the text, and that have been sent in a stream.
        self._certain = self._sent = 0
        self._log_probs: list[TokenLogProb | None] = []
        # Their places in a completion's text.
        self._offsets: list[int] = []
        self._places = None if self._chat else texts.places(sample.prompt_ids[-1:] if sample.joined else ())
        self.text = ""
        """Text that has been generated."""
        self.content = ""
        """Text without calls of tools."""
        self.calls: list[dict[str, Any]] = []
        """Calls of tools."""
        self.tokens = 0
        """Number of tokens that have been generated."""
        self.finish_reason: str | None = None
        """Why it ended; None before its end."""

    def add(self, event: Event) -> list[dict[str, Any]]:
        """Append an event; the parts of a stream for it, none without news."""
        if event.prompt is not None:
            self._log_probs += event.prompt
            self._certain = len(event.prompt)
            self._place_prompt()
        new = self._echoed if not self._begun else ""
        self._begun = True
        self.text += event.text
        self.tokens = event.tokens
        if event.log_prob is not None:
            self._log_probs.append(event.log_prob)
            self._certain = len(self._log_probs) - event.tokens + event.certain
            if self._places is not None:
                self._offsets.append(len(self._echoed) + self._places.next(event.log_prob.token))
        new += event.text if self._tools is None else self._tools.add(event.text)
        self.finish_reason = event.finish_reason
        if event.finish_reason is not None and self._tools is not None:
            rest, self.calls = self._tools.finish()
            new += rest
            self.finish_reason = "tool_calls" if self.calls else event.finish_reason
        self.content += new
        return self._parts(new)

    def whole(self) -> dict[str, Any]:
        """The answer when it is complete."""
        log_probs = self._reported(0)
        if not self._chat:
            return {"text": self.content, "logprobs": log_probs, "finish_reason": self.finish_reason}
        message: dict[str, Any] = {"role": "assistant", "content": self.content, "refusal": None}
        if self.calls:
            message |= {"content": self.content or None, "tool_calls": self.calls}
        return {"message": message, "logprobs": log_probs, "finish_reason": self.finish_reason}

    def _place_prompt(self) -> None:
        """Note the places of the prompt's tokens in the text."""
        places = self._texts.places(control=True)
        unseen = len(self._sample.prompt_ids) - len(self._echo)
        self._offsets += [*[0] * unseen, *map(places.next, self._echo)]

    def _parts(self, new: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        if new or self._sent < self._certain:
            content = {"delta": {"content": new}} if self._chat else {"text": new}
            log_probs = self._reported(self._sent)
            self._sent = self._certain
            parts.append({**content, "logprobs": log_probs, "finish_reason": None})
        if self.calls:
            calls = [{"index": i, **call} for i, call in enumerate(self.calls)]
            parts.append({"delta": {"tool_calls": calls}, "logprobs": None, "finish_reason": None})
        if self.finish_reason is not None:
            ended: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
            parts.append({**ended, "logprobs": None, "finish_reason": self.finish_reason})
        return parts

    def _reported(self, first: int) -> dict[str, Any] | None:
        """The field ``logprobs`` of the tokens from this one on."""
        if self._sample.alternatives is None:
            return None
        found = self._log_probs[first : self._certain]
        if self._chat:
            return chat_log_probs([one for one in found if one is not None], self._texts)
        return completion_log_probs(
            found, self._texts, self._offsets[first : self._certain], int(self._sample.prompt_ids[0])
        )
