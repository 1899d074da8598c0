"""``pluralign collect``: policy x story -> trajectories.jsonl."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from pluralign.annotate.open import DecideName, open_rater
from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser
from pluralign.collect.intrinsic import Intrinsic
from pluralign.collect.open import Mode, open_chooser
from pluralign.collect.planned import PlannedCoverage, Unit
from pluralign.core import InputError
from pluralign.games.game import Story
from pluralign.games.open import open_story
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import Models
from pluralign.workflows.intrinsic import JudgedOptions

SHOWN_OPTIONS = 5
"""Number of options without enough visits that are printed."""


@dataclass(frozen=True)
class IntrinsicOptions:
    """Options of an intrinsic reward from a rater of options (ONI).

    Args:
        rater: Rater that compares the options of decisions as they are met, as `pluralign annotate` takes it:
            judge:MODEL, judge:openai:MODEL, listwise:MODEL or reward:REWARD; none by default.
        objective: Objective of the story that it rates by.
        weight: Weight of the options' values, from -1 to 1, in units of the mean absolute return of random
            play.
        beta: Exponent of the number of visits that values are divided by; 0 for values that do not fade.
        every: Number of rounds of play between questions to the rater.
        labels: File of annotations that keeps the answers; by default next to the output, with the ending
            .labels.jsonl. Answers that it holds are not asked again.
        decide: Rule for a judge's answers in both orders.
    """

    rater: str = ""
    objective: str = "score"
    weight: float = 0.1
    beta: float = 1.0
    every: int = 64
    labels: Path | None = None
    decide: DecideName = "agreement"

    def open(self, game: Story, out: Path, endpoint: EndpointSettings) -> Intrinsic | None:
        """The intrinsic reward that the options ask for; None without a rater.

        Raises:
            InputError: There are other options and no rater, the rater is unknown, or the objective is.
        """
        if not self.rater:
            if self != IntrinsicOptions():
                raise InputError("give the rater of an intrinsic reward", field="intrinsic.rater")
            return None
        rater = open_rater(self.rater, decide=self.decide, endpoint=endpoint)
        labels = self.labels or out.with_suffix(".labels.jsonl")
        judged = JudgedOptions(rater, game.info.objective(self.objective), labels)
        return Intrinsic(judged, self.weight, self.beta, self.every, judged.name)


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
    intrinsic: IntrinsicOptions = IntrinsicOptions(),
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
    covered: Figures = {}
    if isinstance(chooser, CoverageChooser | PlannedCoverage):
        found, lacking = chooser.counts.report(need), chooser.counts.lacking(need)
        covered = {"coverage": {**asdict(found), "lacking": [option.as_json() for option in lacking]}}
        rest = "were not" if need == 1 else f"have fewer than {need} visits"
        say(
            f"{found.taken} of {found.options} options of {found.decisions} decisions were taken; "
            f"{found.missing} {rest}"
        )
        for option in lacking[:SHOWN_OPTIONS]:
            say(f"    {option.text!r} (decision {option.decision.key}, {option.visits} of {need} visits)")
        if len(lacking) > SHOWN_OPTIONS:
            say(f"    and {len(lacking) - SHOWN_OPTIONS} more; --json writes all of them")
    if isinstance(chooser, PlannedCoverage):
        options, taken = chooser.state_options
        covered["state_options"], covered["state_options_taken"] = options, taken
        say(f"{taken} of {options} options of the states met were taken")
    returns = ", ".join(f"{name} {mean:.2f}" for name, mean in report.mean_returns.items())
    wrote(out, f"{report.episodes} episodes, {report.new_episodes} of them new; mean returns: {returns}")
    return {**report.as_json(), **covered}
