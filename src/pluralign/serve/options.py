"""Options of a server. Its command line names them as well, so this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pluralign.core import InputError
from pluralign.lm.dtypes import DTypeName
from pluralign.serve.access import accepted_hosts, read_named_tokens, read_origins, read_token
from pluralign.serve.audit import Audit
from pluralign.serve.settings import Access
from pluralign.steer.mixing import GEOMETRIC

EngineName = Literal["own", "vllm"]
"""Names of the engines that decode."""


@dataclass(frozen=True)
class DecodingOptions:
    """Options of the mixture and of the engine that decodes.

    Args:
        power: Exponent of the power mean that mixes the policies: 1 arithmetic, 0 geometric, -1 harmonic.
        template: Chat template: dialogue or chat; by default the one that the policies were trained with.
        dtype: Precision of the models.
        control_tokens: Whether prompts of /v1/completions may contain control tokens by name; by default such
            names are ordinary text. Messages never hold any.
        engine: Engine that decodes: own, or vllm (docs/vllm.md), which mixes plain LoRA adapters only.
        engine_args: Arguments of vLLM's engine as NAME=VALUE, such as dtype=bfloat16 max-model-len=4096
            tensor-parallel-size=2.
    """

    power: float = GEOMETRIC
    template: str | None = None
    dtype: DTypeName = "auto"
    control_tokens: bool = False
    engine: EngineName = "own"
    engine_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightOptions:
    """Options of where weights come from that requests do not set themselves.

    Args:
        default_weights: Default weights instead as a file weights.json, which `ask` and `weights` write.
            Answers then report the weights' 90 % intervals, and decisions of a story, and several answers to
            one prompt, whether the weights decide. Its objectives are those of the policies or of the
            story's policies.
        implied_dial: Whether the page of a story offers the mixture that acts by the default weights (the
            "dial" in their file, from `ask --values returns`). It served people no better than the weights
            did (docs/weights.md), so it is off by default.
        suggest: Folder of a calibrated dial (pluralign calibrate), or of a model that suggests weights for a
            prompt (pluralign learn weights). Requests with "steering_wish", or with
            "auto" as steering weights, then get its weights, and the page has dials of outcomes.
        relevance: Estimator of which objectives are at stake in a prompt: judge:MODEL (a local language
            model) or reward:DIR (a discriminator of principles; docs/judges.md). Requests with
            "steering_relevance": true then get their weights times its factors, and answers report them.
        principles: Objectives for --relevance as JSON lines with name and description; their names are among
            those of the policies.
    """

    default_weights: Path | None = None
    implied_dial: bool = False
    suggest: Path | None = None
    relevance: str | None = None
    principles: Path | None = None


@dataclass(frozen=True)
class PageOptions:
    """Options of the page.

    Args:
        sweep: Reports (report.json) of sweeps over the same objectives, for the page.
        story: Story for the page: name of a built-in story, or path of any game (docs/other_games.md).
        features: Folder in which features of the story's language model are kept.
        ask: Questions for the page (docs/weights.md) as JSON lines, such as the pool.jsonl that `ask` writes.
            Their objectives are those of the policies or of the story's policies.
        ask_questions: Largest number of questions to a person; with --ask.
    """

    sweep: tuple[Path, ...] = ()
    story: str | None = None
    features: Path | None = None
    ask: Path | None = None
    ask_questions: int = 5


@dataclass(frozen=True)
class AuditOptions:
    """Options of the audit file.

    Args:
        audit: File that gets a JSON line at the start and at the end of each text request, and one per
            refused request.
        audit_texts: Whether the audit file contains prompts, answers, stop strings, schemas, biases and names
            of tools.
        audit_required: Whether requests are refused while the audit file cannot be written.
    """

    audit: Path | None = None
    audit_texts: bool = False
    audit_required: bool = False

    def require_file(self) -> None:
        """Check that options of the file come with it.

        Raises:
            InputError: There is no file.
        """
        if self.audit is None and (self.audit_texts or self.audit_required):
            raise InputError(
                "is for --audit FILE", field="audit_texts" if self.audit_texts else "audit_required"
            )

    def opened(self) -> Audit | None:
        """The audit file; None if there is none.

        Raises:
            InputError: The file cannot be written.
        """
        return self.audit and Audit(self.audit, texts=self.audit_texts, required=self.audit_required)


@dataclass(frozen=True)
class NetworkOptions:
    """Options of connections.

    Args:
        host: Host to listen on; other machines can reach any host except the loopback interface.
        port: Port to listen on; 0 picks a free one.
        health_port: Port of a second listener on the same host, which answers /health alone, even while all
            connections of the first one are taken, and with 503 after SIGTERM; by default there is none.
        token_file: File with the bearer token.
        named_tokens: File with named bearer tokens, a line NAME=TOKEN each; after a space, the number of
            requests of this token that may be in progress at once.
        allow_hosts: Further Host headers that are accepted. On the loopback interface its own names always
            are; on other addresses every Host header is unless names are given.
        allow_origins: Origins of web pages that may use the server (CORS), such as https://example.org.
        drain: Seconds that requests in progress have to finish after SIGINT or SIGTERM; the rest then ends
            with an error.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    health_port: int | None = None
    token_file: Path | None = None
    named_tokens: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    drain: float = 10.0

    def require(self) -> None:
        """Check numbers.

        Raises:
            InputError: Both listeners have one port, or the time to finish is negative or not finite.
        """
        if not 0 <= self.drain < float("inf"):
            raise InputError(f"must be 0 or more seconds, found {self.drain:g}", field="drain")
        if self.health_port is not None and self.health_port == self.port != 0:
            raise InputError("must differ from --port", field="health_port")

    def access(self) -> Access:
        """Access rules, with the tokens that are in files and in the environment.

        Raises:
            InputError: A file cannot be read, a token has another form, or an origin is none.
        """
        return Access(
            read_token(self.token_file),
            accepted_hosts(self.host, self.allow_hosts),
            read_named_tokens(self.named_tokens),
            read_origins(self.allow_origins),
        )
