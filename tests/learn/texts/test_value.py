"""Value models learn a planted reward, and guided samples have more of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import fisher_exact, spearmanr

from pluralign.core import Decision, Demonstration, InputError, SteeringWeights
from pluralign.data.examples import ScoredCompletion
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.value import HLGauss, ValueConfig, fit_value
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_completions
from pluralign.lm.prompts import PromptIds, prompt_ids
from pluralign.rewards.value_model import load_value_model
from pluralign.steer.draws import draw_mixture_completions
from pluralign.steer.value_guided import Guidance, open_value_guided_rows

SCRIPT = Path(__file__).parent / "train_values_and_die.py"
LETTERS = list("abcdefgh")
CLASSES = {"squared": None, "hl-gauss": HLGauss(31)}


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [(f"Say {number % 7}:", "".join(rng.choice(LETTERS, 4))) for number in range(count)]


def scored(count, letter="a", seed=0, split="train"):
    """The reward is 5, and 3 more for each of this letter."""
    return [
        ScoredCompletion(prompt, text, 5.0 + 3.0 * text.count(letter), f"many {letter}", split)
        for prompt, text in texts(count, seed)
    ]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """Writes four letters, whatever is asked."""
    place = tmp_path_factory.mktemp("policy")
    rows = [Demonstration(prompt, text, "letters") for prompt, text in texts(400)]
    return fit_sft(rows, Run("tiny-random", place, Training(epochs=4, learning_rate=1e-2, bf16=False)))


@pytest.mark.parametrize("loss", CLASSES)
@pytest.mark.parametrize("tuning", [{"lora_rank": 8}, {}, {"layers": 1}])
def test_values_follow_the_planted_reward(loss, tuning, tmp_path):
    # One layer learns more slowly.
    epochs = 10 if "layers" in tuning else 6
    training = Training(epochs=epochs, learning_rate=1e-2, bf16=False, **tuning)
    rows = [*scored(300), *scored(60, seed=1, split="validation")]
    fit_value(rows, Run("tiny-random", tmp_path, training), ValueConfig(classes=CLASSES[loss]))
    model = load_value_model(tmp_path)
    held_out = scored(80, seed=2)
    found = model.values([Decision(row.prompt, (row.completion,)) for row in held_out])
    lasts = [values[0][-1] for values in found]
    assert spearmanr(lasts, [row.reward for row in held_out]).statistic > 0.8
    # After the first token: what is known by then.
    firsts = [values[0][0] for values in found]
    groups = [[v for v, row in zip(firsts, held_out, strict=True) if (row.completion[0] == "a") == is_a]
              for is_a in (True, False)]  # fmt: skip
    assert np.mean(groups[0]) > np.mean(groups[1])
    figures = load_card(tmp_path).figures
    assert 1 >= figures["validation_explained_variance_last_token"] > 0.6
    first, last = (figures[f"validation_explained_variance_{end}_token"] for end in ("first", "last"))
    assert first < last
    # The unit: standard deviations of the training rewards.
    rewards = np.array([row.reward for row in rows if row.split == "train"])
    assert model.scale.mean == pytest.approx(rewards.mean())
    assert model.scale.deviation == pytest.approx(rewards.std())
    truth = (np.array([row.reward for row in held_out]) - rewards.mean()) / rewards.std()
    assert np.sqrt(np.mean((np.array(lasts) - truth) ** 2)) < 0.6


@pytest.mark.parametrize("loss", CLASSES)
def test_guided_samples_have_more_of_what_was_rewarded(loss, policy, tmp_path):
    training = Training(epochs=5, learning_rate=1e-2, bf16=False, lora_rank=8)
    for letter in "ab":
        run = Run("tiny-random", tmp_path / letter, training)
        fit_value(scored(300, letter), run, ValueConfig(classes=CLASSES[loss]))
    rows = open_value_guided_rows(policy, {letter: tmp_path / letter for letter in "ab"}, Guidance(3.0))
    prompts = [prompt_ids(policy.tokenizer, f"Say {i}:") for i in range(7)]
    seeds, sampling = [list(range(12 * i, 12 * i + 12)) for i in range(7)], Decoding(6)

    def count(letter, drawn):
        """Samples with it and without."""
        found = [letter in text for own in drawn for text in own]
        return [sum(found), len(found) - sum(found)]

    def more(letter, drawn, plain):
        return fisher_exact([count(letter, drawn), count(letter, plain)], alternative="greater").pvalue < 1e-4

    plain = draw_completions(policy, prompts, seeds, sampling)
    for letter in "ab":
        mix = SteeringWeights.one_hot(letter, ("a", "b"))
        assert more(letter, draw_mixture_completions(rows, prompts, seeds, mix, sampling), plain)
    both = draw_mixture_completions(rows, prompts, seeds, SteeringWeights(a=0.5, b=0.5), sampling)
    assert more("a", both, plain)
    assert more("b", both, plain)


def test_a_policy_that_is_an_adapter_is_guided(tmp_path):
    training = Training(epochs=1, learning_rate=1e-2, bf16=False, lora_rank=4)
    rows = [Demonstration(prompt, text, "letters") for prompt, text in texts(40)]
    fit_sft(rows, Run("tiny-random", tmp_path / "policy", training))
    fit_value(scored(40), Run("tiny-random", tmp_path / "value", training))
    prompts, seeds = [PromptIds([70, 71, 72])], [[1, 2, 3]]
    expected = draw_completions(load_language_policy(tmp_path / "policy"), prompts, seeds, Decoding(6))
    for strength, equal in ((0.0, True), (9.0, False)):
        base = load_language_policy(tmp_path / "policy")
        rows = open_value_guided_rows(base, {"a": tmp_path / "value"}, Guidance(strength))
        found = draw_mixture_completions(rows, prompts, seeds, SteeringWeights(a=1.0), Decoding(6))
        assert (found == expected) is equal


@pytest.mark.parametrize("loss", CLASSES)
def test_the_cut_into_forests_changes_no_step(loss, tmp_path):
    curves, weights = [], []
    for budget in (4096, 40):
        training = Training(epochs=1, learning_rate=1e-3, bf16=False, token_budget=budget)
        run = Run("tiny-random", tmp_path / str(budget), training)
        fit_value(scored(32), run, ValueConfig(classes=CLASSES[loss]))
        curves.append(torch.tensor([entry["loss"] for entry in load_card(run.out).figures["curve"]]))
        weights.append(load_file(run.out / "trunk.safetensors"))
    torch.testing.assert_close(*curves, atol=1e-5, rtol=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_the_first_loss_is_that_of_no_knowledge(tmp_path):
    """Zero weights: every value is the mean reward, and targets are r lam^(tokens to come)."""
    rows = scored(8)
    training = Training(epochs=1, batch_size=8, learning_rate=1e-3, bf16=False, warmup=0)
    fit_value(rows, Run("tiny-random", tmp_path, training), ValueConfig(lam=0.5))
    rewards = np.array([row.reward for row in rows])
    scaled = (rewards - rewards.mean()) / rewards.std()
    # Four letters and the end of text.
    expected = np.mean([0.5 * (r * 0.5**k) ** 2 for r in scaled for k in range(5)])
    assert load_card(tmp_path).figures["curve"][0]["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tuning", [{"layers": 0}, {"lora_rank": 4}])
def test_the_first_loss_at_sentence_ends_is_that_of_their_discounted_rewards(tuning, tmp_path):
    """Zero weights: targets are r (gamma lam)^(sentences to come), at the ends of sentences alone."""
    words = ["ab. cd! e", "a", "ab.", "a. b. c. d."]
    rows = [ScoredCompletion("Say:", text, float(i), "many a") for i, text in enumerate(words)]
    training = Training(epochs=1, batch_size=4, learning_rate=1e-3, bf16=False, warmup=0, **tuning)
    fit_value(rows, Run("tiny-random", tmp_path, training), ValueConfig(0.5, None, 0.8, "sentences"))
    # Sentences, and the end of text.
    counts, rewards = [3, 1, 2, 5], np.arange(4.0)
    scaled = (rewards - rewards.mean()) / rewards.std()
    every = [0.5 * (r * 0.4**k) ** 2 for r, n in zip(scaled, counts, strict=True) for k in range(n)]
    card = load_card(tmp_path)
    assert card.figures["curve"][0]["loss"] == pytest.approx(sum(every) / sum(counts), rel=1e-5)
    assert (card.config["gamma"], card.config["at"]) == (0.8, "sentences")


def test_a_value_model_at_sentence_ends_learns_there(tmp_path):
    rows = [ScoredCompletion("Say:", f"{a}. {b}.", float(a == "a") + (b == "a"), "many a")
            for a in LETTERS[:4] for b in LETTERS[:4]]  # fmt: skip
    training = Training(epochs=40, learning_rate=1e-2, bf16=False, lora_rank=4)
    fit_value(rows, Run("tiny-random", tmp_path, training), ValueConfig(1.0, at="sentences"))
    found = load_value_model(tmp_path).values([Decision("Say:", ("a. b.", "c. b.", "a. a."))])[0]
    # After the first sentence (two tokens): what is known by then; after the second: the reward.
    assert found[0][1] > found[1][1] + 0.3
    assert found[2][4] > found[0][4] + 0.3


def test_defaults_leave_no_trace_of_later_settings(tmp_path):
    assert ValueConfig().settings() == {"lam": 0.95, "classes": None}
    for wrong in ({"gamma": 1.1}, {"gamma": -0.1}, {"at": "words"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ValueConfig(**wrong)


def test_an_empty_completion_is_the_end_of_text_alone(tmp_path):
    blank = [ScoredCompletion("Say 1:", "", 0.0, "many a"), ScoredCompletion("x", "  ", 1.0, "many a")]
    rows = [*scored(20), *blank]
    fit_value(rows, Run("tiny-random", tmp_path, Training(epochs=0.2, bf16=False)))
    card = load_card(tmp_path)
    assert card.data["demonstrations"] == 22
    assert card.data["completion_tokens"] == 20 * 5 + 1 + 3
    found = load_value_model(tmp_path).values([Decision("Say 1:", ("", "ab"))])
    assert [len(values) for values in found[0]] == [1, 3]


def test_killed_and_resumed_ends_with_the_same_weights(forks, other_forks, tmp_path):
    def run(processes, out, kill_at=0):
        return processes.run(SCRIPT, out, kill_at)

    whole = run(forks, tmp_path / "whole")
    assert "forwards 12" in whole.stdout, whole.stderr
    assert run(forks, tmp_path / "killed", 7).returncode == -9
    assert not (tmp_path / "killed" / "card.json").exists()
    resumed = run(other_forks, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout.split()[-1]) < 12
    files = json.loads((tmp_path / "whole" / "card.json").read_text())["files"]
    for name in (name for name in files if name.endswith(".safetensors")):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_refusals(tmp_path):
    run = Run("tiny-random", tmp_path / "x", Training(epochs=0.2, bf16=False))
    with pytest.raises(InputError, match="no training completion"):
        fit_value(scored(4, split="test"), run)
    for same in (2.0, 0.1):
        with pytest.raises(InputError, match=f"all 3 training rewards are {same:g}"):
            fit_value([ScoredCompletion("a", text, same) for text in "xyz"], run)
    with pytest.raises(InputError, match="one objective"):
        fit_value([*scored(4), *scored(4, "b")], run)
    fit_value(scored(8), run)
    with pytest.raises(InputError, match=r"holds another run .*config\.rewards\.digest was"):
        fit_value(scored(8, "b"), Run("tiny-random", tmp_path / "x", run.training, name="many a"))
    for wrong in ({"bins": 3}, {"smoothing": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            HLGauss(**wrong)
    for lam in (-0.1, 1.1):
        with pytest.raises(InputError, match="lam"):
            ValueConfig(lam)
