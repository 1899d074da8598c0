"""Mean rewards of prompts, predicted from other prompts."""

import numpy as np
import pytest
import torch

from pluralign.core import InputError
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.prompt_states import mean_states
from pluralign.rewards.kernel_ridge import fit_kernel_ridge
from pluralign.rewards.prompt_value import fit_prompt_value


@pytest.fixture(scope="module")
def trunk():
    return load_backbone("tiny-random")


def rows(count=30, width=6, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width))
    return features, np.sin(features[:, 0]) + 0.3 * features[:, 1] + 0.1 * rng.normal(size=count) + 4


def test_a_large_penalty_gives_the_mean_and_a_small_one_the_known_targets():
    features, targets = rows()
    other = rows(seed=1)[0]
    assert fit_kernel_ridge(features, targets, 1e12)(other) == pytest.approx(targets.mean())
    assert fit_kernel_ridge(features, targets, 1e-10)(features) == pytest.approx(targets, abs=1e-6)
    moved = fit_kernel_ridge(features, 100 - 2 * targets, 0.1)(other)
    assert moved == pytest.approx(100 - 2 * fit_kernel_ridge(features, targets, 0.1)(other))


@pytest.mark.parametrize("penalty", [1e-6, 0.03, 1.0, 1e3])
def test_errors_on_rows_left_out_are_those_of_fits_without_them(penalty):
    features, targets = rows()
    whole = fit_kernel_ridge(features, targets, penalty)
    # The same kernel, without the row: an unpenalised level and a penalised function, solved as one system.
    kernel = np.exp(-((whole.rows[:, None] - whole.rows) ** 2).sum(axis=2) / (2 * whole.length))
    for left_out in (0, 7, 29):
        kept = np.delete(np.arange(30), left_out)
        system = np.ones((30, 30))
        system[:29, :29] = kernel[np.ix_(kept, kept)] + penalty * np.eye(29)
        system[29, 29] = 0
        solved = np.linalg.solve(system, np.append(targets[kept], 0))
        predicted = kernel[left_out, kept] @ solved[:29] + solved[29]
        assert whole.errors[left_out] == pytest.approx(targets[left_out] - predicted, rel=1e-4, abs=1e-7)


def test_the_penalty_is_the_best_one_for_rows_left_out():
    features, targets = rows(60)
    found = fit_kernel_ridge(features, targets)
    assert 1e-4 < found.penalty < 10
    for penalty in (found.penalty / 2, found.penalty * 2):
        assert (found.errors**2).mean() <= (fit_kernel_ridge(features, targets, penalty).errors ** 2).mean()
    noise = np.random.default_rng(5).normal(size=60)
    assert np.ptp(fit_kernel_ridge(features, noise)(features)) < 0.5 * np.ptp(noise)
    equal = fit_kernel_ridge(np.ones((4, 3)), np.arange(4.0))
    assert equal(np.zeros((1, 3))) == pytest.approx(1.5)


def test_a_policy_is_its_context(trunk):
    prompts = [f"Say {word}:" for word in ("a", "bit", "more", "of", "this", "that", "it")]
    first, second = np.arange(7.0), np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0])
    asked = ["Say bit:", "Say less:", "Go."]
    ours, theirs = (
        fit_prompt_value(prompts, own, trunk, penalty=1e-3).predict(asked) for own in (first, second)
    )
    assert not np.allclose(ours, theirs)
    # The other way round, with every context in another order: the very same predictions.
    order = [4, 2, 6, 0, 5, 1, 3]
    swapped = [
        fit_prompt_value([prompts[i] for i in order], own[order], trunk, penalty=1e-3).predict(asked)
        for own in (second, first)
    ]
    assert np.array_equal(swapped, [theirs, ours])
    seen = fit_prompt_value(prompts, second, trunk, penalty=1e-9)
    assert seen.predict(prompts) == pytest.approx(second, abs=1e-4)


def test_samples_of_a_prompt_are_averaged_and_the_context_says_how_well_it_predicts(trunk):
    words = [f"{a}{b}" for a in "abcdef" for b in "ghij"]
    prompts = [f"{'xy'[i % 2] * 6} {word}" for i, word in enumerate(words)]
    rewards = [float(i % 2) for i in range(len(words))]
    value = fit_prompt_value(prompts * 2, [r - 1 for r in rewards] + [r + 1 for r in rewards], trunk)
    assert list(value.context.values()) == [rewards[prompts.index(prompt)] for prompt in sorted(prompts)]
    assert value.explained > 0.3
    for constant in (2.0, 0.1):
        assert fit_prompt_value(prompts, [constant] * 24, trunk).explained == 0
    noise = np.random.default_rng(0).normal(size=24)
    assert fit_prompt_value(prompts, noise, trunk).explained < 0.2


def test_wrong_contexts_are_refused(trunk):
    for prompts, rewards, message in (
        (["a", "b", "a"], [1.0, 2.0, 3.0], "three or more prompts, found 2"),
        (["a", "b", "c"], [1.0, 2.0], "3 prompts and 2 rewards"),
        (["a", "b", "c"], [1.0, 2.0, float("nan")], "row 3.*finite"),
    ):
        with pytest.raises(InputError, match=message):
            fit_prompt_value(prompts, rewards, trunk)
    with pytest.raises(InputError, match="above 0"):
        fit_prompt_value(["a", "b", "c"], [1.0, 2.0, 3.0], trunk, penalty=0.0)


def test_prompts_end_where_the_trunks_context_does():
    # Its positions are a table, which has no more of them.
    trunk = make_tiny_backbone(architecture="gpt2")
    texts = ["a" * 5000, "b", "c"]
    whole, cut = (mean_states(trunk, texts, max_length=length) for length in (8192, 4096))
    torch.testing.assert_close(whole, cut)
