"""Figures of trainings compared with outcomes: monotone series, what is read from cards, refusals."""

import json
import math

import pytest

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.evaluate.mismatch import find_mismatch, read_outcomes, story_returns
from pluralign.folders.card import Card, write_folder
from pluralign.games.open import open_story

LOSSES = [0.5, 0.4, 0.3, 0.2, 0.1]


def _card(folder, figures, method="cpl", objective="score"):
    write_folder(folder, "option_policy", Card(method, objective, figures=figures), {"name": folder.name}, {})
    return folder


@pytest.fixture
def runs(tmp_path):
    """Five runs: the loss falls, the accuracy rises, one figure does not change, another zigzags."""
    figures = [
        {
            "curve": [{"step": 1, "loss": 9.0}, {"step": i, "loss": loss}], "validation_accuracy": 1 - loss,
            "beliefs": {"score": float((-1) ** i)}, "pairs": 7, "seconds": 1.0 + i, "broken": math.nan,
        }
        for i, loss in enumerate(LOSSES)
    ]  # fmt: skip
    return [_card(tmp_path / f"run-{i}", one) for i, one in enumerate(figures)]


def test_monotone_series_have_one_and_minus_one(runs):
    found = find_mismatch({folder: 10 - 10 * loss for folder, loss in zip(runs, LOSSES, strict=True)})
    assert set(found.correlations) == {"curve.loss", "validation_accuracy", "beliefs.score"}
    assert found.correlations["curve.loss"].value == -1
    assert found.correlations["validation_accuracy"].value == 1
    assert found.correlations["beliefs.score"].value == 0
    # Five runs in order are not certain.
    assert -1 == found.correlations["curve.loss"].low < found.correlations["curve.loss"].high < 0
    assert found.correlations["curve.loss"].high > -0.5
    assert found.constant == ("pairs",)
    assert found.figures["curve.loss"] == tuple(LOSSES)


def test_a_shuffled_series_is_0_within_its_interval(tmp_path):
    order = [3, 0, 6, 1, 7, 4, 2, 5]
    folders = [_card(tmp_path / str(i), {"loss": float(rank)}) for i, rank in enumerate(order)]
    found = find_mismatch({folder: float(i) for i, folder in enumerate(folders)}).correlations["loss"]
    assert found.low < 0 < found.high
    assert found.pairs == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.popitem() and found.popitem(), "expected four runs or more, found 3"),
        (lambda found: found.update(dict.fromkeys(found, 1.0)), "all 5 runs have the outcome 1"),
        (lambda found: found.update({next(iter(found)): math.nan}), "expected a finite outcome, found nan"),
        (
            lambda found: _card(next(iter(found)), {"loss": 1.0}, "bc"),
            "expected runs of one method, found bc, cpl",
        ),
        (lambda found: _card(next(iter(found)), {"other": 1.0}), "no figure in common"),
        (
            lambda found: [_card(one, {"loss": 1.0}) for one in found],
            "all figures of the 5 runs are the same",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, change, message):
    outcomes = {folder: float(i) for i, folder in enumerate(runs)}
    change(outcomes)
    with pytest.raises(InputError, match=message):
        find_mismatch(outcomes)


def test_outcomes_of_a_file(runs, tmp_path):
    path = tmp_path / "outcomes.jsonl"
    rows = [{"run": str(folder), "outcome": i} for i, folder in enumerate(runs)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert read_outcomes(path) == {str(folder): float(i) for i, folder in enumerate(runs)}
    path.write_text("\n".join(map(json.dumps, [*rows, rows[1]])) + "\n")
    with pytest.raises(InputError, match="occurs twice") as refused:
        read_outcomes(path)
    assert refused.value.row == 6


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Folder that keeps features, of which every decision of the story is needed."""
    return tmp_path_factory.mktemp("features")


def test_returns_of_trained_policies_are_exact(tmp_path, features):
    from pluralign.collect.chooser import PolicyChooser
    from pluralign.collect.collector import collect
    from pluralign.core import UniformPolicy
    from pluralign.games.exact_front import exact_returns
    from pluralign.options.open import Models, open_policy

    story = open_story("salt_ledger")
    score = story.info.objective("score")
    models = Models("tiny-random", features)
    collect(
        story.make_game, PolicyChooser(UniformPolicy()), tmp_path / "t.jsonl", episodes=4, seed=0,
        objectives=[score], progress=False,
    )  # fmt: skip
    from pluralign.cli.learn import OptionRun
    from pluralign.cli.learn_q import learn_q
    from pluralign.learn.options.q import QConfig

    learn_q(
        OptionRun(tmp_path / "t.jsonl", tmp_path / "q", "tiny-random", features),
        objective="score", config=QConfig(steps=2, hidden=4, heads=1),
    )  # fmt: skip
    folder = str(tmp_path / "q")
    found = story_returns([folder], "salt_ledger", models=models)
    expected = exact_returns(story.make_game(), open_policy(folder, models), [score]).objectives["score"]
    assert found == {folder: expected}
    with pytest.raises(InputError, match="occurs twice"):
        story_returns([folder, folder], "salt_ledger")


def test_posteriors_over_rewards_are_played_as_their_demonstrators(tmp_path, features):
    from pluralign.collect.roll_out import roll_out
    from pluralign.core import UniformPolicy
    from pluralign.games.exact_front import exact_returns
    from pluralign.learn.options.avril import AVRILConfig, fit_avril
    from pluralign.options.open import Models, open_policy
    from pluralign.options.option_reward import OptionRewardPosterior

    story = open_story("salt_ledger")
    score = story.info.objective("score")
    models = Models("tiny-random", features)
    played = list(roll_out(story.make_game, UniformPolicy(), episodes=3, seed=0, objectives=[score]))
    posterior = fit_avril(
        played, store=models.store, out=tmp_path / "avril", config=AVRILConfig(steps=5, hidden=4)
    )
    folder = str(tmp_path / "avril")
    opened = open_policy(folder, models)
    assert isinstance(opened, OptionRewardPosterior)
    found = story_returns([folder], "salt_ledger", "score", models=models)
    assert found == {folder: exact_returns(story.make_game(), posterior, [score]).objectives["score"]}
    with pytest.raises(InputError, match="name no objective") as error:
        story_returns([folder], "salt_ledger", models=models)
    assert error.value.field == "objective"


def test_the_command_reports_and_draws(runs, tmp_path, capsys):
    from pluralign.cli.evaluate_mismatch import evaluate_mismatch

    path = tmp_path / "outcomes.jsonl"
    path.write_text("".join(json.dumps({"run": str(f), "outcome": i}) + "\n" for i, f in enumerate(runs)))
    figures = evaluate_mismatch(outcomes=path, out=tmp_path / "m")
    assert figures["correlations"]["validation_accuracy"]["value"] == 1
    assert "curve.loss" in capsys.readouterr().out
    assert read_json(tmp_path / "m" / "mismatch.json")["runs"] == [str(folder) for folder in runs]
    assert (tmp_path / "m" / "mismatch.svg").read_text().startswith("<?xml")
    with pytest.raises(InputError, match="either runs with --story, or --outcomes"):
        evaluate_mismatch(("a",), outcomes=path, out=tmp_path / "m")
    with pytest.raises(InputError, match="requires --story"):
        evaluate_mismatch(outcomes=path, out=tmp_path / "m", episodes=5)
