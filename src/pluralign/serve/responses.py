"""Answers in the format of the Responses API."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pluralign.serve.answers import Answer
from pluralign.serve.errors import Refused
from pluralign.serve.response_fields import text_format
from pluralign.steer.requests import Event

_INCOMPLETE = {"length": {"reason": "max_output_tokens"}}


class ResponseForm:
    """An answer as an object ``response``, or as its events.

    Args:
        answer: The answer.
        body: Body of the request.
    """

    def __init__(self, answer: Answer, body: Mapping[str, Any]) -> None:
        self._answer, self._body = answer, body
        self._choice = answer.choices[0]
        self._message_id = f"msg_{secrets.token_hex(12)}"
        self._count = 0
        self._opened = False

    def whole(self) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        incomplete = _INCOMPLETE.get(self._choice.finish_reason or "")
        status = "incomplete" if incomplete else "completed"
        return {**self._response(status, self._output(status)), "incomplete_details": incomplete}

    def opening(self) -> Sequence[str]:
        """The first events of a stream."""
        response = self._response("in_progress", [])
        return [self._event("response." + name, response=response) for name in ("created", "in_progress")]

    def add(self, place: int, event: Event) -> Sequence[str]:
        """Append an event to the answer; the events of a stream for it, none without news."""
        before = len(self._choice.content)
        self._choice.add(event)
        new = self._choice.content[before:]
        if not new:
            return []
        events = [] if self._opened else self._open()
        return [*events, self._text_event("output_text.delta", delta=new, logprobs=[])]

    def closing(self) -> Sequence[str]:
        """The last events of a stream."""
        response = self.whole()
        events: list[str] = []
        output: Sequence[Mapping[str, Any]] = response["output"]
        for index, item in enumerate(output):
            if item["type"] == "message":
                part = item["content"][0]
                events += [] if self._opened else self._open()
                events += [
                    self._text_event("output_text.done", text=part["text"], logprobs=[]),
                    self._text_event("content_part.done", part=part),
                ]
            else:
                unwritten = {**item, "arguments": "", "status": "in_progress"}
                events.append(self._event("response.output_item.added", output_index=index, item=unwritten))
                where = {"output_index": index, "item_id": item["id"]}
                for name, field in (("delta", "delta"), ("done", "arguments")):
                    content = {field: item["arguments"]}
                    events.append(self._event(f"response.function_call_arguments.{name}", **where, **content))
            events.append(self._event("response.output_item.done", output_index=index, item=item))
        return [*events, self._event(f"response.{response['status']}", response=response)]

    def failed(self, refused: Refused) -> Sequence[str]:
        """The last events of a stream that an error ends."""
        error = {"code": refused.code or "server_error", "message": refused.message}
        response = {**self._response("failed", self._output("incomplete")), "error": error}
        return [self._event("response.failed", response=response)]

    def _output(self, status: str) -> list[dict[str, Any]]:
        calls = [
            {
                "type": "function_call", "id": f"fc_{call['id']}", "call_id": call["id"],
                "name": call["function"]["name"], "arguments": call["function"]["arguments"],
                "status": status,
            }
            for call in self._choice.calls
        ]  # fmt: skip
        if calls and not self._choice.content:
            return calls
        return [self._message(status, [_part(self._choice.content)]), *calls]

    def _message(self, status: str, content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        head = {"type": "message", "id": self._message_id, "role": "assistant"}
        return {**head, "status": status, "content": list(content)}

    def _open(self) -> list[str]:
        """Events with which the message begins."""
        self._opened = True
        message = self._message("in_progress", [])
        return [
            self._event("response.output_item.added", output_index=0, item=message),
            self._text_event("content_part.added", part=_part("")),
        ]

    def _text_event(self, name: str, **fields: Any) -> str:
        place = {"item_id": self._message_id, "output_index": 0, "content_index": 0}
        return self._event("response." + name, **place, **fields)

    def _event(self, name: str, **fields: Any) -> str:
        data = {"type": name, "sequence_number": self._count, **fields}
        self._count += 1
        return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"

    def _response(self, status: str, output: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body, counts = self._body, self._answer.usage()
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counts["total_tokens"],
        }
        return {
            "id": self._answer.id,
            "object": "response",
            "created_at": self._answer.created,
            "status": status,
            "model": self._answer.model,
            **self._answer.steering,
            "output": list(output),
            "error": None,
            "incomplete_details": None,
            "usage": None if status == "in_progress" else usage,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
            "text": {"format": text_format(body) or {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
            "truncation": "disabled",
        }


def _part(text: str) -> dict[str, Any]:
    nothing: list[Any] = []
    return {"type": "output_text", "text": text, "annotations": nothing, "logprobs": nothing}
