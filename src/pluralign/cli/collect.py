"""``pluralign collect``: policy x story -> trajectories.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pluralign.cli.common import JsonFile, game_maker, give_figures, objectives_of, say, wrote
from pluralign.collect import Chooser, PolicyChooser, collect
from pluralign.collect.drrn_training import train_drrn
from pluralign.collect.number_chooser import NumberChooser, endpoint_chooser
from pluralign.options.open import Models, open_policy


def collect_trajectories(
    story: str,
    policy: str,
    out: Path,
    episodes: int = 100,
    seed: int = 0,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
    mode: Literal["likelihood", "number"] = "likelihood",
    temperature: float = 1.0,
    prompt: Path | None = None,
    re_asks: int = 3,
    concurrency: int = 8,
    features: Path | None = None,
    max_steps: int = 200,
    json: JsonFile = None,
) -> None:
    """Play a story with a policy and write what happened.

    An interrupted run continues when the same command is given again; nothing is lost or doubled.

    Example: pluralign collect --story salt_ledger --policy smollm2-135m --episodes 500 --out runs/t.jsonl

    Args:
        story: a built-in story's name, or any game's path (docs/other_games.md).
        policy: random, drrn, a trained policy's folder, a language model (smollm2-135m, hub id or
            folder), or openai:MODEL for an endpoint set by OPENAI_BASE_URL and OPENAI_API_KEY.
        out: the file to write.
        episodes: how many the file is to hold.
        seed: of all that is random.
        objectives: whose rewards are recorded.
        mode: a local language model takes options by their likelihood, or is asked for a number.
        temperature: above 1 is more random, below 1 less.
        prompt: a file to use in place of the prompt that asks for a number.
        re_asks: how often a malformed reply is asked again before a random option is taken.
        concurrency: requests to an endpoint under way at once.
        features: folder where a language model's features are kept between runs.
        max_steps: an episode is cut off after so many steps.
        json: a file for the figures.
    """
    make_game = game_maker(story)
    chosen = objectives_of(make_game, objectives)
    models = Models(features=features)
    chooser: Chooser
    if policy.startswith("openai:"):
        chooser = endpoint_chooser(
            policy.removeprefix("openai:"),
            prompt=prompt,
            re_asks=re_asks,
            temperature=temperature,
            concurrency=concurrency,
        )
    elif policy == "drrn":
        chooser = PolicyChooser(train_drrn(make_game, models.store, seed=seed, progress=True))
    elif mode == "number":
        chooser = NumberChooser(
            Models(policy).language_model, prompt=prompt, re_asks=re_asks, temperature=temperature
        )
    else:
        chooser = PolicyChooser(open_policy(policy, models, temperature=temperature))
    report = collect(
        make_game, chooser, out, episodes=episodes, seed=seed, objectives=chosen, max_steps=max_steps
    )
    if report.malformed_replies:
        say(
            f"{report.malformed_replies} malformed replies, {report.re_asks} asked again, "
            f"{report.random_actions} steps taken at random"
        )
    if report.truncated:
        say(f"{report.truncated} episodes were cut off after {max_steps} steps")
    returns = ", ".join(f"{name} {mean:.2f}" for name, mean in report.mean_returns.items())
    wrote(out, f"{report.episodes} episodes, {report.new_episodes} of them new; mean returns: {returns}")
    give_figures(report.as_json(), json)
