"""The main job on one story, stage by stage; run by `pluralign demo` and by the experiments.

Each function is one stage. It reads and writes files in the job's folder, continues an interrupted run, and
returns figures as plain JSON values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.annotate.agreement import agreement
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.judge import Judge, mean_of_orders
from pluralign.annotate.oracle import Oracle
from pluralign.annotate.rater import Rater
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import Objective, Policy, UniformPolicy, simplex_grid
from pluralign.core.checks import require_at_least
from pluralign.core.records import read_annotations, read_pairs, read_trajectories
from pluralign.evaluate.sweeps.stories import SweepPoint, play_weightings
from pluralign.games.open import open_story
from pluralign.options.open import DEFAULT_MODEL, Models, open_trained
from pluralign.pair.pairs import Ties, pair
from pluralign.steer.mixing import GEOMETRIC
from pluralign.workflows.stages import Say

if TYPE_CHECKING:
    from pluralign.games.game import Game
    from pluralign.learn.options.cpl import CPLConfig


@dataclass(frozen=True)
class JobSettings:
    """Settings of the main job.

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        seed: Random seed of all stages.
        model: Language model that plays, judges and provides features.
        episodes: Number of the language model's episodes, the offline data.
        temperature: Temperature of the language model's play.
        comparisons: Number of comparisons by the oracle, for each objective.
        judged: Number of comparisons by the language model, for each objective.
        play: Number of episodes on which each policy is evaluated.
        weightings: Number n of steps of the sweep: weights are 0, 1/n, ..., 1.
        retrained: Number of steps of the grid of weightings for which agents are trained.
        objectives: Two or more objectives of the trade-off; stories of the demo show the first two.
    """

    story: str = "salt_ledger"
    seed: int = 0
    model: str = DEFAULT_MODEL
    episodes: int = 3000
    temperature: float = 1.0
    comparisons: int = 40_000
    judged: int = 120
    play: int = 300
    weightings: int = 10
    retrained: int = 10
    objectives: tuple[str, ...] = ("score", "harm_avoidance")

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)


@dataclass
class MainJob:
    """A job's folder and settings, and the models that it loads once.

    Args:
        folder: Folder of all files.
        settings: See `JobSettings`.
        say: Reports progress.
        models: The language model and its features.
    """

    folder: Path
    settings: JobSettings
    say: Say = print
    models: Models = field(init=False)

    def __post_init__(self) -> None:
        self.models = Models(self.settings.model, self.folder / "features")

    @cached_property
    def make_game(self) -> Callable[[], Game]:
        """A function that makes games of the story."""
        return open_story(self.settings.story).make_game

    @cached_property
    def objectives(self) -> list[Objective]:
        """The objectives of the trade-off."""
        info = self.make_game().info
        return [info.objective(name) for name in self.settings.objectives]

    @property
    def trajectories(self) -> Path:
        """The offline data."""
        return self.folder / "trajectories.jsonl"

    def policy_folder(self, rater: str, objective: str) -> Path:
        """Folder of the policy trained for an objective on a rater's annotations."""
        return self.folder / "policies" / f"cpl-{rater}-{objective}"

    def open(self, rater: str) -> dict[str, Policy]:
        """The policies trained on a rater's annotations, by objective."""
        names = self.settings.objectives
        return {name: open_trained(self.policy_folder(rater, name), self.models) for name in names}


def cpl_config() -> CPLConfig:
    """Settings of CPL on the stories; docs/papers.md has the measurements behind each value."""
    from pluralign.learn.options.cpl import CPLConfig

    return CPLConfig(steps=1000, learning_rate=3e-3, alpha=0.3, bc_share=0.1)


def collect_offline(job: MainJob) -> dict[str, Any]:
    """The language model plays: the offline data."""
    from pluralign.options.language_policy import LanguageModelPolicy

    policy = LanguageModelPolicy(
        job.models.language_model, job.models.store, temperature=job.settings.temperature
    )
    report = collect(
        job.make_game,
        PolicyChooser(policy),
        job.trajectories,
        episodes=job.settings.episodes,
        seed=job.settings.seed,
        objectives=job.objectives,
    )
    job.models.store.flush()
    return report.as_json()


def train_online(job: MainJob) -> dict[str, Any]:
    """Train DRRN online on the score."""
    from pluralign.collect.drrn_training import train_drrn

    policy = train_drrn(job.make_game, job.models.store, seed=job.settings.seed, progress=True)
    policy.save(job.folder / "policies" / "drrn")
    job.models.store.flush()
    return {"mean_return_curve": policy.card.figures["curve"]}


def annotate_by_oracle(job: MainJob) -> dict[str, Any]:
    """The oracle compares whole continuations, for each objective."""
    settings = job.settings
    oracle = Oracle(read_trajectories(job.trajectories), seed=settings.seed)
    whole = ComparisonSettings(count=settings.comparisons, seed=settings.seed)
    return {
        f"oracle {objective.name}": _annotate(job, "oracle", oracle, objective, whole)
        for objective in job.objectives
    }


def annotate_by_judge(job: MainJob) -> dict[str, Any]:
    """The language model compares single steps; the oracle compares the same steps, for kappa."""
    settings = job.settings
    oracle = Oracle(read_trajectories(job.trajectories), seed=settings.seed, length=1)
    # A small model prefers the first position whatever its content, so the stricter rule would make all pairs
    # ties. Each annotation keeps the answers in both orders, so that the report can count contradictions.
    judge = Judge(job.models.language_model, decide=mean_of_orders)
    # The judge reads one step of each segment: the situation and the two actions.
    short = ComparisonSettings(count=settings.judged, seed=settings.seed, length=1)
    figures: dict[str, Any] = {}
    for objective in job.objectives:
        name = objective.name
        figures[f"oracle-short {name}"] = _annotate(job, "oracle-short", oracle, objective, short)
        figures[f"judge {name}"] = _annotate(job, "judge", judge, objective, short)
        judged = read_annotations(annotation_file(job, "judge", name))
        known = read_annotations(annotation_file(job, "oracle-short", name))
        figures[f"kappa {name}"] = asdict(agreement(known, judged, seed=settings.seed).all)
        figures[f"orders disagree {name}"] = sum(len(set(a.info["answers"])) > 1 for a in judged)
    return figures


def _annotate(
    job: MainJob, name: str, rater: Rater, objective: Objective, settings: ComparisonSettings
) -> dict[str, Any]:
    out = annotation_file(job, name, objective.name)
    return annotate(job.trajectories, out, objective, rater, settings=settings).as_json()


def annotation_file(job: MainJob, rater: str, objective: str) -> Path:
    """File of a rater's annotations."""
    return job.folder / "annotations" / f"{rater}-{objective}.jsonl"


# The oracle's ties teach indifference; without them, an agent's arbitrary preferences would outvote the
# other agent in a mixture. A judge's tie may only mean that it could not decide.
TIE_RULES: dict[str, Ties] = {"oracle": "soft", "judge": "drop"}


def pair_all(job: MainJob, rules: Mapping[str, Ties] = TIE_RULES) -> dict[str, Any]:
    """Turn annotations into pairs, for each rater and objective."""
    return {
        f"{rater} {name}": dict(
            pair(
                [annotation_file(job, rater, name)],
                pair_file(job, rater, name),
                objective=name,
                ties=ties,
            ).counts
        )
        for rater, ties in rules.items()
        for name in job.settings.objectives
    }


def pair_file(job: MainJob, rater: str, objective: str) -> Path:
    """File of the pairs from a rater's annotations."""
    return job.folder / "pairs" / f"{rater}-{objective}.jsonl"


def learn_all(job: MainJob, raters: Sequence[str] = ("oracle", "judge")) -> dict[str, Any]:
    """Train a behaviour cloning policy on the data, and a CPL policy for each rater and objective."""
    from pluralign.learn.options.bc import fit_bc
    from pluralign.learn.options.cpl import fit_cpl
    from pluralign.options.checkpoint import load_card

    seed, store = job.settings.seed, job.models.store
    folder = job.folder / "policies" / "bc"
    fit_bc(read_trajectories(job.trajectories), store=store, out=folder, seed=seed)
    figures = {"bc": dict(load_card(folder).figures)}
    for rater in raters:
        for name in job.settings.objectives:
            folder = job.policy_folder(rater, name)
            fit_cpl(
                read_pairs(pair_file(job, rater, name)),
                store=store,
                out=folder,
                config=cpl_config(),
                seed=seed,
            )
            figures[f"{rater} {name}"] = dict(load_card(folder).figures)
            job.say(f"  learned {folder}")
    return figures


def sweep_weights(job: MainJob, power: float = GEOMETRIC) -> list[SweepPoint]:
    """Evaluate the steered policy under every weighting of the grid."""
    return play_weightings(
        job.make_game,
        job.open("oracle"),
        simplex_grid(job.settings.objectives, job.settings.weightings),
        power=power,
        episodes=job.settings.play,
        seed=job.settings.seed,
        objectives=job.objectives,
        path=job.folder / "sweep" / f"power-{power:g}.jsonl",
    )


def play_all(job: MainJob) -> dict[str, Any]:
    """Play every policy of the report, and write its episodes to a file."""
    from pluralign.options.drrn import DRRNPolicy
    from pluralign.options.language_policy import LanguageModelPolicy

    store = job.models.store
    policies: dict[str, Policy] = {
        "random": UniformPolicy(),
        "DRRN": DRRNPolicy.load(job.folder / "policies" / "drrn", store),
        "language model": LanguageModelPolicy(
            job.models.language_model, store, temperature=job.settings.temperature
        ),
        "BC": open_trained(job.folder / "policies" / "bc", job.models),
    }
    for rater in ("oracle", "judge"):
        for name, policy in job.open(rater).items():
            policies[f"CPL {name.replace('_', ' ')} ({rater})"] = policy
    figures: dict[str, Any] = {}
    for name, policy in policies.items():
        out = played_file(job, name)
        report = collect(
            job.make_game,
            PolicyChooser(policy),
            out,
            episodes=job.settings.play,
            # With the seed of the offline data, the language model would play the same episodes.
            seed=job.settings.seed + 1,
            objectives=job.objectives,
            progress=False,
        )
        figures[name] = report.as_json()
        returns = ", ".join(f"{o} {mean:.1f}" for o, mean in report.mean_returns.items())
        job.say(f"  {name:32} {returns}")
    store.flush()
    return figures


def played_file(job: MainJob, policy: str) -> Path:
    """File of a policy's episodes."""
    return job.folder / "play" / f"{policy.replace(' ', '-').replace('(', '').replace(')', '')}.jsonl"
