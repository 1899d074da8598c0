"""``pluralign serve``: a mixture of policies with OpenAI's API, and the page with sliders."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import tyro

from pluralign.cli.common import named_entries, named_folders, named_policies, say
from pluralign.core import InputError
from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.suggest import constant_weights

try:
    for package in ("starlette", "uvicorn"):
        import_module(package)
    from pluralign.serve.access import describe_access
    from pluralign.serve.inferred import describe_inferred
    from pluralign.serve.options import (
        AuditOptions,
        DecodingOptions,
        NetworkOptions,
        PageOptions,
        WeightOptions,
    )
    from pluralign.serve.settings import Limits
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("uvicorn", "starlette"):
        raise
    raise InputError("serve needs starlette and uvicorn: pip install 'pluralign[serve]'") from error

_FLAT = tyro.conf.arg(name="")


def serve(
    policies: tuple[str, ...],
    model: str = DEFAULT_MODEL,
    weights: str | None = None,
    preset: tuple[str, ...] = (),
    rewards: tuple[str, ...] = (),
    story_policies: tuple[str, ...] = (),
    sources: Annotated[WeightOptions, _FLAT] = WeightOptions(),  # noqa: B008 - frozen
    page: Annotated[PageOptions, _FLAT] = PageOptions(),  # noqa: B008 - frozen
    decoding: Annotated[DecodingOptions, _FLAT] = DecodingOptions(),  # noqa: B008 - frozen
    audit: Annotated[AuditOptions, _FLAT] = AuditOptions(),  # noqa: B008 - frozen
    network: Annotated[NetworkOptions, _FLAT] = NetworkOptions(),  # noqa: B008 - frozen
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
        preset: Named weights as PRESET=NAME=NUMBER,NAME=NUMBER, for requests to the model MODEL@PRESET.
        rewards: Rewards for the page as NAME=SPEC: a reward model's folder, closed-form:DIR,
            classifier:NAME or function:FILE.py:NAME.
        story_policies: Policies of the story as NAME=DIR, one per objective.
        sources: Options of where other weights come from.
        page: Options of the page.
        decoding: Options of the mixture and of the engine.
        audit: Options of the audit file.
        network: Options of connections.
        limits: Limits of requests.
    """
    # Help needs no torch.
    from pluralign.serve.run import listening, run_server
    from pluralign.workflows.serving import ServiceParts

    access = network.access()
    folders = named_policies(policies, "policies")
    presets = named_entries(preset, "preset", "PRESET=NAME=NUMBER,...", required=False)
    parts = ServiceParts(
        folders, model, None if weights is None else constant_weights(weights),
        {name: constant_weights(mix) for name, mix in presets.items()},
        named_entries(rewards, "rewards", "NAME=SPEC", required=False),
        named_folders(story_policies, "story_policies"),
        sources=sources, page=page, decoding=decoding, audit=audit, access=access, limits=limits,
    )  # fmt: skip
    network.require()
    host = network.host
    with listening(host, network.port, network.health_port) as (bound, health):
        service = parts.open()
        # Clients that read the line below may connect immediately.
        bound.listen(1024)
        address = f"[{host}]" if ":" in host else host
        say(f"serving {', '.join(folders)} ({service.kind}) at http://{address}:{bound.getsockname()[1]}/")
        if health is not None:
            health.listen(64)
            say(f"health checks at http://{address}:{health.getsockname()[1]}/health")
        for line in (
            *(describe_inferred(parts.inferred) if parts.inferred else ()),
            *describe_access(access, host),
        ):
            say(line)
        run_server(service, bound, network.drain, health)
        say("stopped")
