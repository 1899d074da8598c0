"""One rater per ethical theory, from what people said; their labels of games; agents that learn from them.

    python experiments/ethical_theories.py --data DIR --interactive-fiction DIR --train
    python experiments/ethical_theories.py --data DIR --interactive-fiction DIR

``--train`` trains a rater for each theory of ETHICS and each rule of MoralChoice, and measures it on its own
test pairs. The second command labels the options of games by these raters, measures their agreement with the
stories' own labels, trains an agent for each theory on the language model's episodes and these labels, mixes
the agents, and trains agents on labels with planted errors. An interrupted run continues.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro
from console import say, wrote
from ethical_theories_lib.agents import AgentSettings
from ethical_theories_lib.data import THEORIES, Side, Sizes, names_of_raters
from ethical_theories_lib.games import STORIES, LabelGame, open_games, texts_of
from ethical_theories_lib.labels import (
    agree_with_stories,
    annotate_games,
    annotate_lengths,
    label_file,
    read_rewards,
)
from ethical_theories_lib.mutual import agree_with_each_other, agree_with_variables, chosen_forms
from ethical_theories_lib.pictures import draw_noise, draw_simplex
from ethical_theories_lib.rating import (
    RaterSettings,
    cut_model,
    score_texts,
    scores_file,
    train_rater,
)
from ethical_theories_lib.report import as_json, by_story, read_report
from ethical_theories_lib.stages import StoryRun, adapt_all, learn_from_noise, learn_story
from ethical_theories_lib.tables import as_markdown
from ethical_theories_lib.trainings import across_trainings

from pluralign.core import InputError
from pluralign.core.files import write_json, write_text
from pluralign.games.labelled.file import LabelledFile, write_labelled_file
from pluralign.games.side_file import SUFFIX
from pluralign.learn.texts.trunk import LowerStates
from pluralign.lm.backbone import load_backbone, resolve_dtype
from pluralign.options.open import Models

RESULTS = Path(__file__).parent / "results"
DIALS = {
    "utilitarianism": "utilitarian",
    "deontology": "deontological",
    "justice": "just",
    "virtue": "virtuous",
}
"""Names of the theories' dials."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``ethics`` and ``moralchoice``.
        interactive_fiction: Folder with ``the_intercept_ink`` and ``starforge_choicescript``; None leaves
            these two games out.
        out: Working folder.
        train: Whether to train the raters; otherwise, whether to use them.
        raters: Names of the theories and rules.
        sizes: Numbers of pairs of each rater.
        rater: Settings of the raters' training.
        agent: Settings of the agents.
        stories: Stories on which agents are trained.
        sizes_of_data: Numbers of episodes of the agents that learn from planted errors.
        episodes: Number of episodes of random play of games that are not built in.
        seeds: Random seeds of the trainings of the theories' raters; rules are trained with the first. The
            agents of the k-th seed learn from the k-th training, in rotation.
        results: Folder of the result files.
    """

    data: Path
    interactive_fiction: Path | None = None
    out: Path = Path("runs/ethical_theories")
    train: bool = False
    raters: tuple[str, ...] = names_of_raters()
    sizes: Sizes = field(default_factory=Sizes)
    rater: RaterSettings = field(default_factory=RaterSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    stories: tuple[str, ...] = STORIES
    sizes_of_data: tuple[int, ...] = (100, 1000, 3000)
    episodes: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Run the stages that are asked for, and write the report of all finished ones."""
    games = open_games(settings.out, settings.interactive_fiction, settings.episodes)
    if settings.train:
        train_all(settings, games)
    else:
        use_all(settings, games)
    report = {
        "experiment": "ethical_theories",
        "command": "python experiments/ethical_theories.py --data DIR --interactive-fiction DIR --train",
        "settings": {
            "rater": asdict(settings.rater), "agent": asdict(settings.agent), "sizes": asdict(settings.sizes),
            "seeds": list(settings.seeds),
        },
        **read_report(settings.out, settings.raters, settings.seeds),
    }  # fmt: skip
    results = settings.results
    write_text(results / "ethical_theories.json", as_json(report))
    write_text(results / "ethical_theories.md", as_markdown(report))
    if "noise" in report:
        draw_noise(report["noise"], results / "ethical_theories-noise.svg")
    stories = by_story(report.get("agents", {}))
    if mixed := {name: runs for name, runs in stories.items() if "simplex" in runs[0]}:
        draw_simplex(mixed, results / "ethical_theories-simplex.svg")
    wrote(results / "ethical_theories.md", "ethical_theories.json")


def train_all(settings: Settings, games: Sequence[LabelGame]) -> None:
    """Train and measure all raters; each is a folder for ``--rater reward:DIR``."""
    backbone = load_backbone(cut_model(settings.out, settings.rater), dtype=resolve_dtype("float32"))
    lower = LowerStates(backbone, settings.rater.layers)
    for name in settings.raters:
        for seed in settings.seeds if name in THEORIES else settings.seeds[:1]:
            say(f"{name}, seed {seed}")
            train_rater(settings.data, settings.out, name, seed, settings.sizes, settings.rater, lower)
            texts = texts_to_score(settings, games, name, seed)
            score_texts(settings.out, name, seed, settings.rater, lower, texts)


def texts_to_score(settings: Settings, games: Sequence[LabelGame], rater: str, seed: int) -> list[Side]:
    """Texts of all games for the first training of a rater, of the stories for the others."""
    first = seed == settings.seeds[0]
    return texts_of([game for game in games if first or game.name in STORIES], rater)


def trained(settings: Settings, games: Sequence[LabelGame]) -> list[str]:
    """Names of the raters that are finished.

    Raises:
        InputError: There are none, or one has not read the texts of all games.
    """
    first = settings.seeds[0]
    found = [r for r in settings.raters if scores_file(settings.out, r, first).exists()]
    if not found:
        raise InputError("has no trained raters; run with --train first", path=settings.out)
    for name in found:
        for seed in settings.seeds if name in THEORIES else (first,):
            path = scores_file(settings.out, name, seed)
            known = read_rewards(settings.out, name, seed).keys() if path.exists() else set[Side]()
            if not known >= set(texts_to_score(settings, games, name, seed)):
                raise InputError("lacks texts of these games; run with --train and the same games", path=path)
    return found


def use_all(settings: Settings, games: Sequence[LabelGame]) -> None:
    """Label, measure agreement, train and mix agents, and plant errors."""
    raters, out, first = trained(settings, games), settings.out, settings.seeds[0]
    say(f"labels of {len(games)} games by {len(raters)} raters")
    annotate_games(out, games, raters, first)
    annotate_lengths(out, games)
    agreed = agree_with_stories(out, games, raters, first)
    forms = chosen_forms(agreed, games)
    write_json(out / "agreement.json", {"stories": agreed, "forms": forms})
    write_json(out / "mutual.json", agree_with_each_other(out, games, raters, forms, first))
    write_json(out / "variables.json", agree_with_variables(out, games, raters, forms, first))
    theories = [theory for theory in THEORIES if theory in raters]
    write_json(out / "trainings.json", across_trainings(out, games, theories, settings.seeds, forms))
    models = Models(settings.rater.model, out / "features")
    known = {game.name: game for game in games}
    runs: list[tuple[StoryRun, dict[str, str]]] = []
    for name in settings.stories:
        own = {theory: forms[theory][name] for theory in theories}
        runs.append((StoryRun(out, known[name], models, settings.agent, settings.seeds), own))
        # For pluralign serve --story, whose dials are the labels' objectives.
        dials = {label_file(out, name, theory, first, form): DIALS[theory] for theory, form in own.items()}
        write_labelled_file(LabelledFile(out / f"{name}{SUFFIX}", name, tuple(dials), names=dials))
    for story, own in runs:
        learn_story(story, own)
    write_json(out / "adaptation.json", adapt_all(out, known, raters, first, models.store))
    for story, own in runs:
        learn_from_noise(story, settings.sizes_of_data, own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line. Exit codes: 0 success, 2 bad input."""
    try:
        run(tyro.cli(Settings, args=arguments, description=(__doc__ or "").splitlines()[0]))
    except InputError as error:
        print(f"ethical_theories: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
