"""One rater per ethical theory, from what people said; their labels of games; agents that learn from them.

    python experiments/ethical_theories.py --data DIR --train
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
from typing import Any

import tyro
from console import say, wrote
from ethical_theories_lib.agents import AgentSettings
from ethical_theories_lib.data import THEORIES, Sizes, names_of_raters
from ethical_theories_lib.games import STORIES, LabelGame, open_games, texts_of
from ethical_theories_lib.labels import (
    agree_with_each_other,
    agree_with_stories,
    annotate_games,
    annotate_lengths,
    chosen_forms,
    label_file,
)
from ethical_theories_lib.rating import RaterSettings, cut_model, scores_file, train_rater
from ethical_theories_lib.stages import StoryRun, adapt_all, learn_from_noise, learn_story
from ethical_theories_lib.tables import as_markdown

from pluralign.core import InputError
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.games.labelled.file import LabelledFile, write_labelled_file
from pluralign.games.side_file import SUFFIX
from pluralign.learn.texts.trunk import LowerStates
from pluralign.lm.backbone import load_backbone, resolve_dtype
from pluralign.options.open import Models

RESULTS = Path(__file__).parent / "results"


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
        seed: Random seed of the raters.
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
    seed: int = 0
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Run the stages that are asked for, and write the report of all finished ones."""
    games = open_games(settings.out, settings.interactive_fiction, settings.episodes)
    if settings.train:
        train_all(settings, games)
    else:
        use_all(settings, games)
    report = read_report(settings)
    write_json(settings.results / "ethical_theories.json", report)
    with replace_when_whole(settings.results / "ethical_theories.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    wrote(settings.results / "ethical_theories.md", "ethical_theories.json")


def train_all(settings: Settings, games: Sequence[LabelGame]) -> None:
    """Train and measure all raters; each is a folder for ``--rater reward:DIR``."""
    backbone = load_backbone(cut_model(settings.out, settings.rater), dtype=resolve_dtype("float32"))
    lower = LowerStates(backbone, settings.rater.layers)
    for name in settings.raters:
        say(f"{name}, seed {settings.seed}")
        texts = texts_of(games, name)
        train_rater(
            settings.data, settings.out, name, settings.seed, settings.sizes, settings.rater, lower, texts
        )


def trained(settings: Settings) -> list[str]:
    """Names of the raters that are finished.

    Raises:
        InputError: There are none.
    """
    found = [r for r in settings.raters if scores_file(settings.out, r, settings.seed).exists()]
    if not found:
        raise InputError("has no trained raters; run with --train first", path=settings.out)
    return found


def use_all(settings: Settings, games: Sequence[LabelGame]) -> None:
    """Label, measure agreement, train and mix agents, and plant errors."""
    raters, out = trained(settings), settings.out
    say(f"labels of {len(games)} games by {len(raters)} raters")
    annotate_games(out, games, raters, settings.seed)
    annotate_lengths(out, games)
    agreed = agree_with_stories(out, games, raters, settings.seed)
    forms = chosen_forms(agreed)
    write_json(out / "agreement.json", {"stories": agreed, "forms": forms})
    write_json(out / "mutual.json", agree_with_each_other(out, games, raters, forms))
    models = Models(settings.rater.model, out / "features")
    known = {game.name: game for game in games}
    theories = [theory for theory in THEORIES if theory in raters]
    runs: list[tuple[StoryRun, dict[str, str]]] = []
    for name in settings.stories:
        own = {theory: forms[theory][name] for theory in theories}
        runs.append((StoryRun(out, known[name], models, settings.agent), own))
        # For pluralign serve --story, whose dials are the labels' objectives.
        labels = tuple(label_file(out, name, theory, form) for theory, form in own.items())
        write_labelled_file(LabelledFile(out / f"{name}{SUFFIX}", name, labels))
    for story, own in runs:
        learn_story(story, own, settings.seed)
    write_json(out / "adaptation.json", adapt_all(out, known, raters, settings.seed, models.store))
    for story, own in runs:
        learn_from_noise(story, settings.sizes_of_data, own, settings.seed)


def read_report(settings: Settings) -> dict[str, Any]:
    """All figures so far."""
    out = settings.out
    figures = [out / "figures" / f"{name}-{settings.seed}.json" for name in settings.raters]
    report: dict[str, Any] = {
        "experiment": "ethical_theories",
        "command": "python experiments/ethical_theories.py --data DIR --train",
        "settings": {
            "rater": asdict(settings.rater), "agent": asdict(settings.agent), "sizes": asdict(settings.sizes),
            "seed": settings.seed,
        },
        "raters": [
            {k: v for k, v in read_json(path).items() if k != "test margins"}
            for path in figures
            if path.exists()
        ],
    }  # fmt: skip
    for name in ("agreement", "mutual", "adaptation"):
        if (out / f"{name}.json").exists():
            report[name] = read_json(out / f"{name}.json")
    for name in ("agents", "noise"):
        report[name] = {path.stem: read_json(path) for path in sorted((out / name).glob("*.json"))}
    for name, figures in report["agents"].items():
        if not name.endswith("-1"):
            figures.pop("differing", None)  # long; the table has those of the first seed
    return _rounded(report)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line. Exit codes: 0 success, 2 bad input."""
    try:
        run(tyro.cli(Settings, args=arguments, description=(__doc__ or "").splitlines()[0]))
    except InputError as error:
        print(f"ethical_theories: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
