"""``pluralign evaluate progress``: a language model's sense of progress, against order and exact values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings


def evaluate_progress(
    file: Annotated[Path, tyro.conf.Positional],
    judge: str,
    out: Path,
    objective: str = "score",
    reading: Literal["order", "percent"] = "order",
    policy: str = "random",
    passages: int = 6,
    examples: int = 0,
    episodes: int | None = None,
    samples: int = 3,
    prompt: Path | None = None,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
    dtype: DTypeName = "float32",
    seed: int = 0,
    features: Path | None = None,
) -> Figures:
    """Measure whether a language model's judgement of progress follows the order of a play's passages, or
    what they are worth.

    Passages are shuffled. Values are compared by rank with the order (VOC) and, on built-in stories, with the
    return to be expected at each passage: what was gained so far plus the exact value of a policy from there
    on. An interrupted run continues.

    Example: pluralign evaluate progress runs/t.jsonl --judge smollm2-135m --objective score --out
    runs/progress

    Args:
        file: Trajectories of one story (`pluralign collect`).
        judge: Language model: smollm2-135m, a hub id, a local folder, or openai:MODEL (an endpoint).
        out: Folder for progress.jsonl and report.json.
        objective: Objective of the story.
        reading: Whether pairs of passages are compared (order; local models only), or all of them get a
            number at once (percent).
        policy: Policy whose exact values are compared: random, or a trained policy's folder; by default
            random play.
        passages: Largest number of passages of an episode, three or more, evenly spaced.
        examples: Number of episodes, the first ones, that are shown as examples and not judged.
        episodes: Largest number of episodes to read; by default all.
        samples: Number of replies for each episode (percent).
        prompt: Prompt file; see annotate/prompts/order.txt and percent.txt.
        endpoint: Requests to an endpoint.
        dtype: Precision of a local model.
        seed: Random seed of the shuffling and of replies.
        features: Folder that keeps a language model's features between runs, for trained policies.
    """
    # Help needs no model.
    from pluralign.annotate.open import open_critic
    from pluralign.evaluate.progress import REPORT, evaluate_play_progress, read_play
    from pluralign.options.open import Models

    played = read_play(file, episodes)
    critic = open_critic(judge, reading, prompt=prompt, samples=samples, endpoint=endpoint, dtype=dtype)
    found = evaluate_play_progress(
        played, critic, objective, out, policy=policy, models=Models(features=features), passages=passages,
        examples=examples, seed=seed,
    )  # fmt: skip
    story = played[0].source
    say(f"{critic.name} on {story}, {objective}: {found.episodes} episodes, mean and 95 % interval")
    named = (
        ("values and order (VOC)", found.order), ("values and worth", found.worth),
        ("order and worth", found.order_and_worth),
    )  # fmt: skip
    for name, value in named:
        if value is not None:
            say(f"  {name:24}{value.with_interval()}")
    for note in found.notes:
        say(note)
    wrote(out / REPORT, "the values of each passage are in progress.jsonl")
    return found.to_json()
