"""Records of text requests, and the audit file: one JSON line per request, with its weights."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.serve.answers import Answer
from pluralign.serve.api import Kind


@dataclass
class RequestRecord:
    """Data about a text request, for the audit file and the metrics.

    Args:
        id: Id of the request and its answer.
        kind: API that the request uses.
        started: Time of arrival, in seconds of the monotonic clock.
        answer: Answer so far; None before the request has been parsed.
        status: HTTP status.
        first_token: Seconds from arrival to the first token; None before.
    """

    id: str
    kind: Kind
    started: float = field(default_factory=time.monotonic)
    answer: Answer | None = None
    status: int = 200
    first_token: float | None = None

    def row(self) -> dict[str, Any]:
        """The fields of the audit line."""
        request = None if self.answer is None else self.answer.request
        first = None if request is None else request.samples[0]
        decoding = None
        if first is not None:
            own = first.decoding
            rules = {**vars(first.rules), "logit_bias": dict(first.rules.logit_bias)}
            rules["schema"] = first.rules.schema is not None
            decoding = {**vars(own), "stop": list(own.stop), "seed": first.seed, **rules}
        return {
            "id": self.id,
            "api": self.kind,
            "status": self.status,
            "steering_weights": None if self.answer is None else dict(self.answer.weights),
            "decoding": decoding,
            "samples": 0 if request is None else len(request.samples),
            "stream": request is not None and request.stream,
            "prompt_tokens": 0 if request is None else request.prompt_tokens,
            "completion_tokens": 0 if self.answer is None else self.answer.completion_tokens,
            "finish_reasons": [] if self.answer is None else self.answer.finish_reasons,
            "milliseconds": round(1000 * (time.monotonic() - self.started), 1),
        }


class Audit:
    """An append-only file of JSON lines that only its owner may read.

    Args:
        path: Path of the file; created with mode 0600 if it does not exist.
        texts: Whether prompts and answers are written too.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path, *, texts: bool = False) -> None:
        self.path, self.texts = Path(path), texts
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file: int | None = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=path) from error

    def write(self, row: Mapping[str, Any], prompt: Any, answers: list[str]) -> None:
        """Write a complete line; the operating system has it when this returns.

        Raises:
            OSError: The disk is full, or the file is closed.
        """
        texts = {"prompt": prompt, "answers": answers} if self.texts else {}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = (json.dumps({"time": now, **row, **texts}, ensure_ascii=False) + "\n").encode()
        if self._file is None:
            raise OSError("the audit file is closed")
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file; later writes fail."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
