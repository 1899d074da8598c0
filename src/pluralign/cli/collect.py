"""``pluralign collect``: policy x story -> trajectories.jsonl."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.collect.collector import collect
from pluralign.collect.covered import covered
from pluralign.collect.open import Mode, open_chooser
from pluralign.collect.planned import Unit
from pluralign.games.open import open_story
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import Models
from pluralign.workflows.intrinsic import IntrinsicOptions


def collect_trajectories(
    story: str,
    policy: str,
    out: Path,
    episodes: int = 100,
    seed: int = 0,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
    mode: Mode = "likelihood",
    temperature: float = 1.0,
    prompt: Path | None = None,
    re_asks: int = 3,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
    features: Path | None = None,
    max_steps: int = 200,
    need: int = 1,
    round_size: int | None = None,
    plan: Unit | None = None,
    intrinsic: IntrinsicOptions = IntrinsicOptions(),  # noqa: B008 - frozen
) -> Figures:
    """Play a story with a policy and write the trajectories.

    If the same command is run again, an interrupted run continues; no episode is lost or duplicated.

    Example: pluralign collect --story salt_ledger --policy smollm2-135m --episodes 500 --out runs/t.jsonl

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        policy: Policy: random, coverage (prefers options that were taken least often), drrn, a trained
            policy's folder, a language model (smollm2-135m, hub id or folder), or openai:MODEL for an
            endpoint (its key is OPENAI_API_KEY).
        out: Output file.
        episodes: Number of episodes in the file.
        seed: Random seed.
        objectives: Objectives whose rewards are recorded.
        mode: How a local language model chooses: by the options' likelihoods, or by replying with a number.
        temperature: Sampling temperature of language models.
        prompt: Prompt file that replaces the built-in prompt for choosing by number.
        re_asks: Number of times to ask again after a malformed reply, before a random option is taken.
        endpoint: Requests to an endpoint.
        features: Folder in which features of the language model are kept between runs.
        max_steps: Maximum number of steps in an episode.
        need: Number of visits that each option should have, for the policy "coverage".
        round_size: Number of episodes of "coverage" between two counts of visits; by default 10, or 1 with
            --plan.
        plan: Whether "coverage" plans through the states seen so far to the nearest option of a state, or of
            a decision, that needs visits; slower, since episodes are played one by one.
        intrinsic: Intrinsic reward of the training of "drrn".
    """
    game = open_story(story)
    chosen = game.info.select(objectives)
    chooser = open_chooser(
        policy, game.make_game, Models(features=features), mode=mode, temperature=temperature, prompt=prompt,
        re_asks=re_asks, endpoint=endpoint, seed=seed, needed=need, round_size=round_size,
        plan=plan, intrinsic=intrinsic.open(game, out, endpoint),
    )  # fmt: skip
    report = collect(
        game.make_game, chooser, out, episodes=episodes, seed=seed, objectives=chosen, max_steps=max_steps,
        # An episode has one request at a time.
        batch=max(64, endpoint.concurrency),
    )  # fmt: skip
    if report.malformed_replies:
        say(
            f"{report.malformed_replies} malformed replies, {report.re_asks} asked again, "
            f"{report.random_actions} random steps"
        )
    if report.truncated:
        say(f"{report.truncated} episodes were truncated after {max_steps} steps")
    met = covered(chooser, need)
    for line in met.lines() if met else ():
        say(line)
    returns = ", ".join(f"{name} {mean:.2f}" for name, mean in report.mean_returns.items())
    wrote(out, f"{report.episodes} episodes, {report.new_episodes} of them new; mean returns: {returns}")
    return {**report.as_json(), **(met.to_json() if met else {})}
