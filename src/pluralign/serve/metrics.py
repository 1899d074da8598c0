"""Counters and histograms of a server, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Histogram:
    """A cumulative histogram.

    Args:
        bounds: Upper bounds of the buckets, ascending.
    """

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * len(self._bounds)
        self.count, self.total = 0, 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        self.total += value
        for i, bound in enumerate(self._bounds):
            self._counts[i] += value <= bound

    def lines(self, name: str) -> list[str]:
        """The histogram in Prometheus' text format."""
        buckets = [
            f'{name}_bucket{{le="{b:g}"}} {n}' for b, n in zip(self._bounds, self._counts, strict=True)
        ]
        return [
            *buckets,
            f'{name}_bucket{{le="+Inf"}} {self.count}',
            f"{name}_sum {self.total:.6f}",
            f"{name}_count {self.count}",
        ]


class Metrics:
    """All metrics of a server; used only on the event loop."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """Answered requests by path and status; 499 means that the client disconnected."""
        self.tokens: Counter[str] = Counter(prompt=0, completion=0)
        self.latency = Histogram()
        """Seconds from the arrival of a text request to the end of its answer."""
        self.first_token = Histogram()
        """Seconds from the arrival of a text request to its first token."""
        self.audit_failures = 0

    def render(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The text of `/metrics`.

        Args:
            gauges: Current values: (help text, value) by name.
        """
        lines = _head("requests_total", "counter", "Requests by path and status.")
        lines += [
            f'pluralign_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self.requests.items())
        ]
        lines += _head("tokens_total", "counter", "Prompt and completion tokens.")
        lines += [f'pluralign_tokens_total{{kind="{kind}"}} {count}' for kind, count in self.tokens.items()]
        lines += _head("audit_failures_total", "counter", "Failed writes to the audit file.")
        lines.append(f"pluralign_audit_failures_total {self.audit_failures}")
        for name, (text, value) in gauges.items():
            lines += [*_head(name, "gauge", text), f"pluralign_{name} {value:g}"]
        lines += _head(
            "request_seconds", "histogram", "Seconds from a text request to the end of its answer."
        )
        lines += self.latency.lines("pluralign_request_seconds")
        lines += _head("first_token_seconds", "histogram", "Seconds from a text request to its first token.")
        lines += self.first_token.lines("pluralign_first_token_seconds")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP pluralign_{name} {text}", f"# TYPE pluralign_{name} {kind}"]
