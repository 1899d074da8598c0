"""Raters by name: the oracle, judges, sheets filled in by people, and reward models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pluralign.annotate.human import import_sheet
from pluralign.annotate.judge import Decide, Judge, ReplyJudge, both_orders_agree, mean_of_orders
from pluralign.annotate.listwise import ListwiseJudge, ListwiseReplyJudge
from pluralign.annotate.oracle import Noise, Oracle
from pluralign.annotate.progress import OrderingCritic, PercentCritic, ProgressCritic
from pluralign.annotate.rater import Rater
from pluralign.annotate.reward_rater import RewardRater
from pluralign.annotate.rubric import RubricRater, load_rubric
from pluralign.core import Comparison, InputError, Trajectory
from pluralign.lm.endpoint import PREFIX, Endpoint, endpoint_model
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import DEFAULT_MODEL, Models

if TYPE_CHECKING:
    from pluralign.lm.dtypes import DTypeName

DecideName = Literal["agreement", "mean"]
"""Rule that combines a judge's answers in both orders into one preference."""

DECISIONS: dict[DecideName, Decide] = {"agreement": both_orders_agree, "mean": mean_of_orders}


def open_rater(
    spec: str,
    *,
    trajectories: Sequence[Trajectory] | None = None,
    comparisons: Sequence[Comparison] | None = None,
    noise: Noise | None = None,
    seed: int = 0,
    length: int | None = None,
    prompt: str | Path | None = None,
    decide: DecideName = "agreement",
    endpoint: EndpointSettings | None = None,
    dtype: DTypeName = "float32",
    tie_sigmas: float | None = None,
    rubric: str | Path | None = None,
) -> Rater:
    """Open a rater by name. A rater of your own needs no name: `annotate` takes any `Rater`.

    Args:
        spec: ``oracle`` (the trajectories' own rewards), ``judge:MODEL`` (a local language model; ``judge:``
            is the default model), ``judge:openai:MODEL`` (an OpenAI-compatible endpoint), ``rubric:MODEL``
            (a judge of each criterion of a rubric), ``listwise:MODEL`` (a judge that reads all options of a
            decision together), both with ``openai:MODEL`` as well, ``human:SHEET`` (answers in a CSV or JSONL
            file; ``human:NAME=SHEET`` names the person) or ``reward:REWARD`` (any reward that `load_reward`
            loads).
        trajectories: Trajectories that the comparisons are made from; only the oracle needs them.
        comparisons: Comparisons to rate; only a sheet needs them.
        noise: Noise of the oracle; None never errs.
        seed: Random seed of the oracle's noise.
        length: Steps in a segment, where the comparisons were made with a length; only the oracle uses it.
        prompt: Prompt file for judges; None uses the built-in prompt.
        decide: Rule for a judge's answers in both orders: a tie if they differ (``agreement``), or the
            mean of a local model's log-odds (``mean``).
        endpoint: URLs of an endpoint, numbers of requests and tries; None uses the defaults.
        dtype: Precision of local models.
        tie_sigmas: Largest difference of two rewards that is a tie, in standard deviations of the difference;
            see `RewardRater`. None is 1 for rewards; other raters have no such uncertainty.
        rubric: File of criteria (see `load_rubric`); only ``rubric:MODEL`` needs it.

    Raises:
        InputError: The rater is unknown, something that it needs is missing, or it would not use something
            that is given.
    """
    kind, _, rest = spec.partition(":")
    if prompt is not None and kind in ("oracle", "human", "reward"):
        raise InputError(f"only judges have a prompt, not {spec}", field="prompt")
    if decide != "agreement" and kind in ("oracle", "human", "reward"):
        raise InputError(f"only judges answer in both orders, not {spec}", field="decide")
    if noise not in (None, Noise()) and kind != "oracle":
        raise InputError(f"only the oracle has noise, not {spec}", field="noise")
    if tie_sigmas is not None and kind != "reward":
        raise InputError(f"only rewards have an uncertainty, not {spec}", field="tie_sigmas")
    if rubric is not None and kind != "rubric":
        raise InputError(f"is for rubric:MODEL, not {spec}", field="rubric")
    match kind, rest:
        case "oracle", "" if trajectories is not None:
            return Oracle(trajectories, noise=noise, seed=seed, length=length)
        case "human", sheet if sheet and comparisons is not None:
            name, given, path = sheet.partition("=")
            # A file's own name may have the sign.
            named = bool(given) and not Path(sheet).is_file()
            return import_sheet(path if named else sheet, comparisons, name if named else None)
        case "judge", model if model != PREFIX:
            return open_judge(model, prompt=prompt, decide=decide, endpoint=endpoint, dtype=dtype)
        case "rubric", model if model != PREFIX:
            if rubric is None:
                raise InputError("rubric:MODEL needs a file of criteria", field="rubric")
            criteria = load_rubric(rubric)
            judge = open_judge(model, prompt=prompt, decide=decide, endpoint=endpoint, dtype=dtype)
            return RubricRater(judge, criteria)
        case "listwise", model if model != PREFIX:
            if decide != "agreement":
                raise InputError(f"{spec} has one answer for all orders", field="decide")
            if (remote := endpoint_model(model)) is not None:
                return ListwiseReplyJudge(Endpoint(remote, endpoint or EndpointSettings()), prompt=prompt)
            return ListwiseJudge(Models(model or DEFAULT_MODEL, dtype=dtype).language_model, prompt=prompt)
        case "reward", reward if reward:
            from pluralign.rewards.identity import reward_provenance
            from pluralign.rewards.open import load_reward

            return RewardRater(
                load_reward(reward, dtype=dtype),
                tie_sigmas=1.0 if tie_sigmas is None else tie_sigmas,
                card=reward_provenance(reward),
            )
        case _:
            known = ["oracle"] * (trajectories is not None)
            known += ["judge:MODEL", "judge:openai:MODEL", "rubric:MODEL", "listwise:MODEL"]
            known += ["human:SHEET, human:NAME=SHEET"] * (comparisons is not None) + ["reward:REWARD"]
            raise InputError(f"unknown rater '{spec}'; known: {', '.join(known)}", field="rater")


def open_judge(
    model: str, *, prompt: str | Path | None = None, decide: DecideName = "agreement",
    endpoint: EndpointSettings | None = None, dtype: DTypeName = "float32",
) -> Judge | ReplyJudge:  # fmt: skip
    """Open a judge of pairs.

    Args:
        model: Local language model (the default one if empty), or ``openai:MODEL`` (an OpenAI-compatible
            endpoint).
        prompt: See `open_rater`.
        decide: See `open_rater`.
        endpoint: See `open_rater`.
        dtype: Precision of a local model.

    Raises:
        InputError: The model or the prompt cannot be loaded, or an endpoint is to decide by log-odds, which
            it does not give.
    """
    if (remote := endpoint_model(model)) is not None:
        if decide != "agreement":
            raise InputError("an endpoint gives no log-odds to take the mean of", field="decide")
        endpoint = endpoint or EndpointSettings()
        # Each comparison is two questions, so a batch fills the requests in flight twice.
        return ReplyJudge(Endpoint(remote, endpoint), prompt=prompt, batch=max(16, endpoint.concurrency))
    language_model = Models(model or DEFAULT_MODEL, dtype=dtype).language_model
    return Judge(language_model, prompt=prompt, decide=DECISIONS[decide])


def open_critic(
    judge: str, reading: Literal["order", "percent"] = "order", *, prompt: str | Path | None = None,
    samples: int = 3, endpoint: EndpointSettings | None = None, dtype: DTypeName = "float32",
) -> ProgressCritic:  # fmt: skip
    """Open a critic of progress by name.

    Args:
        judge: Local language model, or ``openai:MODEL`` (an OpenAI-compatible endpoint).
        reading: Whether pairs of passages are compared (``order``; needs log-probabilities, which endpoints
            do not give), or all passages get a number at once (``percent``).
        prompt: Prompt file; None uses the built-in prompt.
        samples: Number of replies for each play (``percent``).
        endpoint: URLs of an endpoint, numbers of requests and tries; None uses the defaults.
        dtype: Precision of a local model.

    Raises:
        InputError: An endpoint is to compare pairs, or a model or prompt cannot be loaded.

    Examples:
        >>> import pluralign as pl
        >>> pl.evaluate.open_critic("tiny-random", "percent", samples=2).name
        'percent:tiny-random'
    """
    remote = endpoint_model(judge)
    if reading == "order":
        if remote is not None:
            raise InputError("an endpoint gives no log-probabilities; use percent", field="reading")
        return OrderingCritic(Models(judge or DEFAULT_MODEL, dtype=dtype).language_model, prompt=prompt)
    if remote is not None:
        return PercentCritic(Endpoint(remote, endpoint or EndpointSettings()), prompt=prompt, samples=samples)
    language_model = Models(judge or DEFAULT_MODEL, dtype=dtype).language_model
    return PercentCritic(language_model, prompt=prompt, samples=samples)
