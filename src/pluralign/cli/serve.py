"""``pluralign serve``: a mixture of policies with OpenAI's API, and the page with sliders."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pluralign.cli.common import named_entries, named_folders, named_policies, say
from pluralign.core import InputError
from pluralign.data.choices import load_questions
from pluralign.data.objectives import load_objectives
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.saved import load_posterior
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.relevance import open_relevance
from pluralign.steer.suggest import constant_weights, open_provider

if TYPE_CHECKING:
    from pluralign.serve.submission import Engine
    from pluralign.steer.prompt_encoder import PromptEncoder

try:
    for package in ("starlette", "uvicorn"):
        import_module(package)
    from pluralign.serve.access import (
        accepted_hosts,
        is_loopback,
        read_named_tokens,
        read_origins,
        read_token,
    )
    from pluralign.serve.ask import Asker
    from pluralign.serve.audit import Audit
    from pluralign.serve.fronts import read_fronts
    from pluralign.serve.inferred import require_served
    from pluralign.serve.settings import Access, Limits
    from pluralign.serve.story import open_story_player
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("uvicorn", "starlette"):
        raise
    raise InputError("serve needs starlette and uvicorn: pip install 'pluralign[serve]'") from error

EngineName = Literal["own", "vllm"]
"""Names of the engines that decode."""


def serve(
    policies: tuple[str, ...],
    model: str = DEFAULT_MODEL,
    weights: str | None = None,
    default_weights: Path | None = None,
    implied_dial: bool = False,
    suggest: Path | None = None,
    preset: tuple[str, ...] = (),
    power: float = GEOMETRIC,
    host: str = "127.0.0.1",
    port: int = 8000,
    health_port: int | None = None,
    rewards: tuple[str, ...] = (),
    sweep: tuple[Path, ...] = (),
    story: str | None = None,
    story_policies: tuple[str, ...] = (),
    ask: Path | None = None,
    ask_questions: int = 5,
    relevance: str | None = None,
    principles: Path | None = None,
    features: Path | None = None,
    template: str | None = None,
    dtype: DTypeName = "auto",
    control_tokens: bool = False,
    audit: Path | None = None,
    audit_texts: bool = False,
    audit_required: bool = False,
    token_file: Path | None = None,
    named_tokens: Path | None = None,
    allow_hosts: tuple[str, ...] = (),
    allow_origins: tuple[str, ...] = (),
    engine: EngineName = "own",
    engine_args: tuple[str, ...] = (),
    drain: float = 10.0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> None:
    """Serve a mixture of policies with OpenAI's API; each request sets its weights. A page at / has sliders.

    Policies that are plain LoRA adapters of the model share one forward pass per token, and heads on it one
    row of it; others are loaded whole.
    Requests must carry a bearer token if PLURALIGN_TOKEN is set in the environment or --token-file is given.

    Example: pluralign serve --model smollm2-135m --policies helpful=runs/helpful harmless=runs/harmless

    Args:
        policies: Policies as NAME=DIR, one per objective: a folder from learn, a PEFT adapter's folder, or
            the model itself. A folder of heads (learn mah-dpo) without a name means all of its objectives.
        model: Base model: smollm2-135m, a hub id or a local folder.
        weights: Default weights as NAME=NUMBER,NAME=NUMBER, for requests without any, or
            wish:DIAL:NAME=NUMBER,... by a calibrated dial; equal by default.
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
        preset: Named weights as PRESET=NAME=NUMBER,NAME=NUMBER, for requests to the model MODEL@PRESET.
        power: Exponent of the power mean that mixes the policies: 1 arithmetic, 0 geometric, -1 harmonic.
        host: Host to listen on; other machines can reach any host except the loopback interface.
        port: Port to listen on; 0 picks a free one.
        health_port: Port of a second listener on the same host, which answers /health alone, even while all
            connections of the first one are taken, and with 503 after SIGTERM; by default there is none.
        rewards: Rewards for the page as NAME=SPEC: a reward model's folder, closed-form:DIR,
            classifier:NAME or function:FILE.py:NAME.
        sweep: Reports (report.json) of sweeps over the same objectives, for the page.
        story: Story for the page: name of a built-in story, or path of any game (docs/other_games.md).
        story_policies: Policies of the story as NAME=DIR, one per objective.
        ask: Questions for the page (docs/weights.md) as JSON lines, such as the pool.jsonl that `ask` writes.
            Their objectives are those of the policies or of the story's policies.
        ask_questions: Largest number of questions to a person; with --ask.
        relevance: Estimator of which objectives are at stake in a prompt: judge:MODEL (a local language
            model) or reward:DIR (a discriminator of principles; docs/judges.md). Requests with
            "steering_relevance": true then get their weights times its factors, and answers report them.
        principles: Objectives for --relevance as JSON lines with name and description; their names are among
            those of the policies.
        features: Folder in which features of the story's language model are kept.
        template: Chat template: dialogue or chat; by default the one that the policies were trained with.
        dtype: Precision of the models.
        control_tokens: Whether prompts of /v1/completions may contain control tokens by name; by default such
            names are ordinary text. Messages never hold any.
        audit: File that gets a JSON line at the start and at the end of each text request, and one per
            refused request.
        audit_texts: Whether the audit file contains prompts, answers, stop strings, schemas, biases and names
            of tools.
        audit_required: Whether requests are refused while the audit file cannot be written.
        token_file: File with the bearer token.
        named_tokens: File with named bearer tokens, a line NAME=TOKEN each; after a space, the number of
            requests of this token that may be in progress at once.
        allow_hosts: Further Host headers that are accepted. On the loopback interface its own names always
            are; on other addresses every Host header is unless names are given.
        allow_origins: Origins of web pages that may use the server (CORS), such as https://example.org.
        engine: Engine that decodes: own, or vllm (docs/vllm.md), which mixes plain LoRA adapters only.
        engine_args: Arguments of vLLM's engine as NAME=VALUE, such as dtype=bfloat16 max-model-len=4096
            tensor-parallel-size=2.
        drain: Seconds that requests in progress have to finish after SIGINT or SIGTERM; the rest then ends
            with an error.
        limits: Limits of requests.
    """
    # Help needs no torch.
    from pluralign.rewards.open import load_reward
    from pluralign.serve.app import Service
    from pluralign.serve.relevance import RequestRelevance
    from pluralign.serve.rewards import AnswerScorers
    from pluralign.serve.run import listen, run_server
    from pluralign.steer.policies import Policies, load_policies

    access = Access(
        read_token(token_file),
        accepted_hosts(host, allow_hosts),
        read_named_tokens(named_tokens),
        read_origins(allow_origins),
    )
    folders = named_policies(policies, "policies")
    scorers = named_entries(rewards, "rewards", "NAME=SPEC", required=False)
    default = None if weights is None else constant_weights(weights)
    inferred = None if default_weights is None else load_posterior(default_weights)
    asker = None if ask is None else Asker(load_questions(ask), ask_questions)
    story_folders = named_folders(story_policies, "story_policies")
    if (story is None) != (not story_folders):
        raise InputError("--story and --story-policies must be given together", field="story")
    if (relevance is None) != (principles is None):
        raise InputError("--relevance and --principles must be given together", field="relevance")
    described = None if principles is None else load_objectives(principles)
    served = {"policies": tuple(folders)} | ({"story": tuple(story_folders)} if story_folders else {})
    for field, known in (("default_weights", inferred), ("ask", asker)):
        if known is not None:
            require_served(known.objectives, served, field)
    if default is not None and inferred is not None:
        raise InputError("is given together with --weights", field="default_weights")
    if implied_dial and default_weights is None:
        raise InputError("needs --default-weights weights.json", field="implied_dial")
    provider = None if suggest is None else open_provider(suggest)
    if provider is not None and set(provider.objectives) != set(folders):
        raise InputError(
            f"is for {', '.join(provider.objectives)}; served are {', '.join(folders)}", field="suggest"
        )
    named = named_entries(preset, "preset", "PRESET=NAME=NUMBER,...", required=False)
    presets = {name: constant_weights(mix) for name, mix in named.items()}
    fronts = read_fronts(sweep, tuple(folders), tuple(story_folders))
    if engine_args and engine != "vllm":
        raise InputError("is for --engine vllm", field="engine_args")
    options: Any = {"power": power, "template": template, "control_tokens": control_tokens}
    if audit is None and (audit_texts or audit_required):
        raise InputError("is for --audit FILE", field="audit_texts" if audit_texts else "audit_required")
    if not 0 <= drain < float("inf"):
        raise InputError(f"must be 0 or more seconds, found {drain:g}", field="drain")
    if health_port is not None and health_port == port != 0:
        raise InputError("must differ from --port", field="health_port")
    with listen(host, port) as bound, _listen_too(host, health_port) as health:
        if engine == "vllm":
            deployment, make_engine = _start_vllm(model, folders, engine_args, dtype, limits, options)
        else:
            deployment, make_engine = load_policies(model, folders, dtype=dtype, **options), None
        service = Service(
            deployment,
            limits,
            access,
            default,
            None if audit is None else Audit(audit, texts=audit_texts, required=audit_required),
            AnswerScorers({name: load_reward(spec) for name, spec in scorers.items()}) if scorers else None,
            None
            if story is None
            else open_story_player(
                story, story_folders, power, features, inferred, default_weights if implied_dial else None
            ),
            fronts,
            make_engine,
            presets,
            asker=asker,
            inferred=inferred,
            relevance=None
            if relevance is None or described is None
            else RequestRelevance(open_relevance(relevance, described), tuple(folders)),
            provider=provider,
        )
        # Clients that read the line below may connect immediately.
        bound.listen(1024)
        address = f"[{host}]" if ":" in host else host
        kind = "adapters of one model" if service.deployment.shared else "whole models"
        kind = "heads on one model" if isinstance(deployment, Policies) and deployment.headed else kind
        say(f"serving {', '.join(folders)} ({kind}) at http://{address}:{bound.getsockname()[1]}/")
        if health is not None:
            health.listen(64)
            say(f"health checks at http://{address}:{health.getsockname()[1]}/health")
        if inferred is not None:
            _say_inferred(inferred)
        if access.token is None and not access.named and not is_loopback(host):
            say("no token is set: anyone who can reach this address can use it (PLURALIGN_TOKEN sets one)")
        if access.hosts is None:
            say(
                "every Host header is accepted, so web pages can reach this server under names of their own "
                "(DNS rebinding): --allow-hosts sets the accepted ones"
            )
        run_server(service, bound, drain, health)
        say("stopped")


def _say_inferred(inferred: WeightPosterior) -> None:
    ends = {name: inferred.interval(name) for name in inferred.objectives}
    parts = [f"{name} {inferred.mean[name]:.2f} ({a:.2f} to {b:.2f})" for name, (a, b) in ends.items()]
    say(f"default weights, inferred from {inferred.answers} answers: {', '.join(parts)}")
    if any(scale != 1 for scale in inferred.scales.values()):
        say(
            "their values have scales other than 1, so they are weights of rewards or attributes, and only "
            "approximately those of a mixture (docs/weights.md)"
        )


def _listen_too(host: str, port: int | None) -> AbstractContextManager[socket.socket | None]:
    from pluralign.serve.run import listen

    return nullcontext() if port is None else listen(host, port)


def _start_vllm(
    model: str,
    folders: Mapping[str, Path],
    engine_args: Sequence[str],
    dtype: DTypeName,
    limits: Limits,
    options: Mapping[str, Any],
) -> tuple[PromptEncoder, Callable[[Limits], Engine]]:
    from pluralign.vllm.launch import read_engine_args, require_vllm
    from pluralign.vllm.policies import start_vllm

    require_vllm()
    return start_vllm(model, folders, {"dtype": dtype, **read_engine_args(engine_args)}, limits, **options)
