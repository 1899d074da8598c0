"""``pluralign serve``: policies behind OpenAI's API, with weights that each request sets, and the page."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from pluralign.cli.common import game_maker, named_entries, say
from pluralign.core import InputError, SteeringWeights
from pluralign.options.open import DEFAULT_MODEL, Models, open_policy
from pluralign.rewards import load_reward
from pluralign.steer import GEOMETRIC

try:
    import uvicorn

    from pluralign.serve import Access, Limits, Service, make_app
    from pluralign.serve.audit import Audit
    from pluralign.serve.fronts import read_front
    from pluralign.serve.rewards import AnswerScorers
    from pluralign.serve.story import StoryPlayer
    from pluralign.steer.policies import load_policies
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("uvicorn", "starlette"):
        raise
    raise InputError("serve needs starlette and uvicorn: pip install 'pluralign[serve]'") from error

_TOKEN = "PLURALIGN_TOKEN"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve(
    policies: tuple[str, ...],
    model: str = DEFAULT_MODEL,
    weights: str | None = None,
    power: float = GEOMETRIC,
    host: str = "127.0.0.1",
    port: int = 8000,
    rewards: tuple[str, ...] = (),
    sweep: tuple[Path, ...] = (),
    story: str | None = None,
    story_policies: tuple[str, ...] = (),
    features: Path | None = None,
    template: str | None = None,
    exact: bool = False,
    audit: Path | None = None,
    audit_texts: bool = False,
    token_file: Path | None = None,
    allow_hosts: tuple[str, ...] = (),
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> None:
    """Serve policies behind OpenAI's API; each request sets its weights, and a page at / has dials for them.

    Policies that are LoRA adapters of the model share its one pass for each token; others are loaded whole.
    A bearer token is asked for where the environment has PLURALIGN_TOKEN, or a file is given.

    Example: pluralign serve --model smollm2-135m --policies helpful=runs/helpful harmless=runs/harmless

    Args:
        policies: NAME=DIR for each objective: what learn wrote, a PEFT adapter's folder, or the model again.
        model: smollm2-135m, a hub id or a local folder.
        weights: of requests that do not say, as NAME=NUMBER,NAME=NUMBER; equal by default.
        power: of the mixture: 1 arithmetic, 0 geometric, -1 harmonic.
        host: to listen at; anything but the loopback interface is open to others.
        port: to listen at; 0 takes a free one.
        rewards: NAME=SPEC for the page: a reward model's folder, closed-form:DIR or classifier:NAME.
        sweep: report.json of a sweep over the same objectives, for the page.
        story: a built-in story's name, or any game's path (docs/other_games.md),
            for the page.
        story_policies: NAME=DIR for each of the story's objectives.
        features: folder where the features of the story's language model are kept.
        template: of chats: dialogue or chat; by default the policies' own.
        exact: compute in float32 where bfloat16 would be faster.
        audit: a file that gets a JSON line for each request for text.
        audit_texts: write prompts and answers there, too.
        token_file: a file that holds the bearer token.
        allow_hosts: names beside the loopback's under which a server on the loopback interface answers.
        limits: how much a request may take.
    """
    access = Access(_token(token_file), _hosts(host, allow_hosts))
    folders = {name: Path(place) for name, place in named_entries(policies, "policies", "NAME=DIR").items()}
    scorers = named_entries(rewards, "rewards", "NAME=SPEC", required=False)
    default = None if weights is None else SteeringWeights.parse(weights)
    fronts = _fronts(
        sweep,
        tuple(folders),
        tuple(named_entries(story_policies, "story_policies", "NAME=DIR", required=False)),
    )
    with _listen(host, port) as bound:
        service = Service(
            load_policies(
                model, folders, power=power, dtype="float32" if exact else "auto", template=template
            ),
            limits,
            access,
            default,
            None if audit is None else Audit(audit, texts=audit_texts),
            AnswerScorers({name: load_reward(spec) for name, spec in scorers.items()}) if scorers else None,
            _story(story, story_policies, power, features),
            fronts,
        )
        bound.listen(1024)
        address = f"[{host}]" if ":" in host else host
        kind = "adapters of one model" if service.deployment.shared else "whole models"
        say(f"serving {', '.join(folders)} ({kind}) at http://{address}:{bound.getsockname()[1]}/")
        if access.token is None and not is_loopback(host):
            say("without a token: whoever reaches this address may use it (PLURALIGN_TOKEN sets one)")
        config = uvicorn.Config(
            make_app(service), http="h11", ws="none", loop="asyncio", lifespan="on", log_level="warning",
            access_log=False, server_header=False, limit_concurrency=limits.connections,
            timeout_graceful_shutdown=10,
        )  # fmt: skip
        with _ended_by_signals():
            uvicorn.Server(config).run(sockets=[bound])
        say("stopped")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens at this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(host: str, allowed: tuple[str, ...]) -> tuple[str, ...] | None:
    if not is_loopback(host):
        return tuple(name.lower() for name in allowed) or None
    return tuple(dict.fromkeys((*_LOOPBACK, host.lower(), *(name.lower() for name in allowed))))


def _token(file: Path | None) -> str | None:
    """The bearer token, which never stands on the command line: others could read it there."""
    if file is None:
        token = os.environ.get(_TOKEN)
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise InputError(f"cannot be read: {error}", path=file) from error
    if token is not None and (not token.isascii() or not token.isprintable() or not token or " " in token):
        where = _TOKEN if file is None else str(file)
        raise InputError(f"the token in {where} must be ASCII, without spaces and not empty")
    return token


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a taken port is told before any model is loaded."""
    if not 0 <= port < 1 << 16:
        raise InputError(f"must be from 0 to 65535, found {port}", field="port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise InputError(f"cannot listen at {host} port {port}: {error.strerror or error}") from error
    return bound


@contextlib.contextmanager
def _ended_by_signals() -> Generator[None]:
    """Inside, uvicorn shuts down on SIGINT and SIGTERM and then raises them anew; both are a proper end."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _story(
    story: str | None, policies: tuple[str, ...], power: float, features: Path | None
) -> StoryPlayer | None:
    folders = named_entries(policies, "story_policies", "NAME=DIR", required=False)
    if (story is None) != (not folders):
        raise InputError("--story and --story-policies go together", field="story")
    if story is None:
        return None
    models = Models(features=features)
    return StoryPlayer(
        game_maker(story), {name: open_policy(place, models) for name, place in folders.items()}, power
    )


def _fronts(paths: tuple[Path, ...], chat: tuple[str, ...], story: tuple[str, ...]) -> Mapping[str, Any]:
    """What sweeps measured, by the tab whose objectives they weigh."""
    found: dict[str, Any] = {}
    for path in paths:
        front = read_front(path)
        weighed = {name for point in front["points"] for name in point["weights"]}
        tab = "chat" if weighed <= set(chat) else "story" if weighed <= set(story) else None
        if tab is None:
            raise InputError(
                f"weighs {', '.join(sorted(weighed))}; served are {', '.join((*chat, *story))}", path=path
            )
        found[tab] = front
    return found
