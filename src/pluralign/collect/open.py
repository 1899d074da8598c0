"""Choosers by name: random play, trained policies, language models, and endpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pluralign.collect.chooser import Chooser, PolicyChooser
from pluralign.collect.coverage import CoverageChooser
from pluralign.collect.intrinsic import Intrinsic
from pluralign.collect.number_chooser import NumberChooser, endpoint_chooser
from pluralign.collect.planned import PlannedCoverage, Unit
from pluralign.core import InputError
from pluralign.core.checks import require_at_least
from pluralign.core.digests import file_digest
from pluralign.games.game import Game
from pluralign.lm.endpoint import endpoint_model
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import Models, open_policy

Mode = Literal["likelihood", "number"]
"""How a local language model chooses: by the likelihoods of options, or by replying with a number."""


def open_chooser(
    name: str,
    make_game: Callable[[], Game],
    models: Models | None = None,
    *,
    mode: Mode = "likelihood",
    temperature: float = 1.0,
    prompt: str | Path | None = None,
    re_asks: int = 3,
    endpoint: EndpointSettings | None = None,
    seed: int = 0,
    needed: int = 1,
    round_size: int | None = None,
    plan: Unit | None = None,
    intrinsic: Intrinsic | None = None,
) -> Chooser:
    """Open a chooser by name. Choosers of your own need no name: `collect` takes any `Chooser`, and
    `PolicyChooser` turns any `Policy` into one.

    Args:
        name: ``random``, ``coverage`` (options that were taken least often), ``drrn`` (which is first trained
            online in this game), a trained policy's folder, a
            language model (``smollm2-135m``, hub id or folder), or ``openai:MODEL`` for an endpoint
            (its key is OPENAI_API_KEY).
        make_game: Function that makes a new game.
        models: Language model and folder of features; None uses the default model and keeps features in
            memory.
        mode: How a local language model chooses.
        temperature: Sampling temperature of language models.
        prompt: Prompt file of models that reply with a number; None uses the built-in prompt.
        re_asks: Number of times to ask again after a malformed reply.
        endpoint: URLs of an endpoint, numbers of requests and tries; None uses the defaults.
        seed: Random seed of DRRN's training.
        needed: Number of visits that each option should have, for ``coverage``.
        round_size: Number of episodes of ``coverage`` between two counts of visits; None is 10, or 1 with a
            plan.
        plan: What ``coverage`` plans for: options of ``states`` or of ``decisions``; None does not plan.
        intrinsic: Intrinsic reward of DRRN's training.

    Raises:
        InputError: There is no such policy, its model cannot be loaded, a number is out of range, or a
            setting was given that the policy would not use.
    """
    require_at_least(0, temperature=temperature, re_asks=re_asks, seed=seed)
    models = models or Models()
    remote = endpoint_model(name)
    if prompt is not None and remote is None and (name == "drrn" or mode != "number"):
        raise InputError(
            "is only for models that reply with a number (mode number, or an endpoint)", field="prompt"
        )
    if intrinsic is not None and name != "drrn":
        raise InputError(
            f"is for the policy drrn, which is trained in the game, not {name}", field="intrinsic"
        )
    of_models = {"temperature": temperature != 1, "mode": mode != "likelihood", "re_asks": re_asks != 3}
    if name in ("random", "coverage", "drrn") and (
        unused := [field for field in of_models if of_models[field]]
    ):
        raise InputError(f"is for language models, not {name}", field=unused[0])
    rounds = {} if round_size is None else {"round_size": round_size}
    given = {"plan": plan is not None, "need": needed != 1, **rounds}
    if name != "coverage" and (unused := [field for field in given if given[field]]):
        raise InputError(f"is for the policy coverage, not {name}", field=unused[0])
    if remote is not None:
        return endpoint_chooser(remote, endpoint, prompt=prompt, re_asks=re_asks, temperature=temperature)
    if name == "coverage":
        if plan is not None:
            return PlannedCoverage(make_game, unit=plan, needed=needed, **rounds)
        return CoverageChooser(needed=needed, **rounds)
    if name == "drrn":
        from pluralign.collect.drrn_training import train_drrn

        drrn = train_drrn(make_game, models.store, seed=seed, intrinsic=intrinsic, progress=True)
        return PolicyChooser(drrn, more={k: v for k, v in drrn.card.config.items() if k == "intrinsic"})
    if mode == "number":
        writer = models.of(name).language_model
        return NumberChooser(writer, prompt=prompt, re_asks=re_asks, temperature=temperature)
    card = Path(name) / "card.json"
    # The folder may hold another policy of this name later: the digest of a card changes with the weights.
    more = {"card": file_digest(card)} if card.is_file() else {}
    return PolicyChooser(open_policy(name, models, temperature=temperature), more=more)
