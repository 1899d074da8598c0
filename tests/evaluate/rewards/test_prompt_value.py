"""Rank accuracy of predicted mean rewards of prompts."""

import json
from itertools import combinations

import numpy as np
import pytest
from json_lines import write

from pluralign.core import InputError
from pluralign.evaluate.rewards.prompt_value import evaluate_prompt_value, rank_accuracy


def test_rank_accuracy_counts_pairs():
    rng = np.random.default_rng(0)
    truth, guess = np.round(rng.normal(size=(2, 25)), 1)
    hits = [
        0.5 if guess[i] == guess[j] else float((guess[i] > guess[j]) == (truth[i] > truth[j]))
        for i, j in combinations(range(25), 2)
        if truth[i] != truth[j]
    ]
    once = np.ones((1, 25))
    assert rank_accuracy(guess, truth, once) == pytest.approx(np.mean(hits))
    found = [rank_accuracy(own, truth, once)[0] for own in (truth, -truth, np.zeros(25))]
    assert found == [1, 0, 0.5]
    # Rows that count more often are like rows that are there more often, and no pair with themselves.
    rows = np.array([3, 3, 4, 8, 9, 9, 9])
    often = np.bincount(rows, minlength=25)[None].astype(float)
    several = rank_accuracy(guess[rows], truth[rows], np.ones((1, 7)))
    assert rank_accuracy(guess, truth, often) == pytest.approx(several)
    assert rank_accuracy(guess, truth, np.eye(25)[:1]) == 0.5


def rows(count, start=0, sign=1):
    """Prompts whose rewards follow their first letters, and not their length."""
    rng = np.random.default_rng(start)
    lengths = rng.integers(1, 9, size=count)
    return [
        {"prompt": f"{'xy'[i % 2] * 6} {'n' * lengths[i]} {i + start}", "completion": " a",
         "reward": sign * (i % 2) + 0.1 * rng.normal()}
        for i in range(count)
        for _ in range(2)
    ]  # fmt: skip


def test_a_planted_difference_is_found_and_a_length_is_not():
    found = evaluate_prompt_value(rows(24), rows(30, 100), model="tiny-random")
    assert (found.context, found.prompts) == (24, 30)
    # Half of the pairs differ in what was planted.
    assert found.accuracies["predicted value"].mean > 0.7
    assert found.gains["prompt length"].low > 0
    assert found.accuracies["constant"].mean == 0.5
    assert found.explained > 0.8
    # Another policy's context: what it likes is what this one does badly.
    other = evaluate_prompt_value(rows(24, sign=-1), rows(30, 100), model="tiny-random")
    assert other.accuracies["predicted value"].mean < 0.3
    assert other.correlation.value < 0


def test_the_sign_of_the_length_is_the_contexts():
    long = [{"prompt": "n" * n + str(n % 3), "completion": "", "reward": -n} for n in range(3, 30)]
    found = evaluate_prompt_value(long[::2], long[1::2], model="tiny-random")
    assert found.accuracies["prompt length"].mean == 1


def test_wrong_files_are_refused():
    context = rows(6)
    for data, message in (
        (context[-2:] + rows(5, 50), "1 prompts are in the context too, such as 'yyyyyy"),
        (rows(2, 50), "three or more prompts, found 2"),
        ([row | {"reward": 1} for row in rows(5, 50)], "all 5 prompts have the mean reward 1"),
        ([{"prompt": "a", "completion": "b"}], "field 'reward'"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_prompt_value(context, data, model="tiny-random")
    with pytest.raises(InputError, match=r"context.*three or more prompts, found 2"):
        evaluate_prompt_value(rows(2), rows(5, 50), model="tiny-random")


def test_the_command(tmp_path, capsys):
    from pluralign.cli import main

    context, data = write(tmp_path / "a.jsonl", rows(20)), write(tmp_path / "b.jsonl", rows(20, 40))
    with pytest.raises(SystemExit) as ended:
        main(
            ["evaluate", "prompt-value", "--context", str(context), "--data", str(data),
             "--model", "tiny-random", "--json", str(tmp_path / "figures.json")]
        )  # fmt: skip
    assert not ended.value.code
    figures = json.loads((tmp_path / "figures.json").read_text())
    said = capsys.readouterr().out
    assert "20 held-out prompts, 20 in the context" in said
    gain = figures["gains"]["prompt length"]
    assert f"predicted value minus prompt length: {gain['mean']:.2f}" in said
    assert figures["accuracies"]["constant"]["mean"] == 0.5
