"""Several rewards as one: TRL's advantages are ours, rewards by models are read once, as policies wrote."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from planted import letters, low

import pluralign as pl
from pluralign.core import Decision, InputError, SteeringWeights
from pluralign.learn.combination import Combination
from pluralign.learn.texts.adversarial.rounds import AdversarialConfig, Rounds
from pluralign.learn.texts.adversarial.samples import sample_log_probs
from pluralign.learn.texts.combined_reward import (
    CombinedReward,
    open_rewards,
    reward_of_samples,
    reward_of_texts,
    reward_table,
)
from pluralign.learn.trl import RewardFunction
from pluralign.learn.weighting import Fixed
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.layers import trunk_layers
from pluralign.losses.advantages import (
    advantage_combination,
    centred_sum,
    dvao,
    gdpo,
    reward_combination,
)
from pluralign.losses.adversarial import AIRL
from pluralign.rewards.function import FunctionReward
from pluralign.rewards.identity import reward_provenance
from pluralign.rewards.value_model import RewardScale

WEIGHTS = SteeringWeights(letters=0.7, low=0.3)
PROMPTS = [f"Say {i}:" for i in range(24)]
SCALES = (RewardScale(1.0, 2.0), RewardScale(-3.0, 5.0))
REWARDS = {"letters": letters, "low": low}


@pytest.mark.parametrize("combine", [centred_sum, reward_combination, advantage_combination, gdpo, dvao])
def test_trl_takes_the_combined_advantages(combine):
    """RLOO's baseline gives back what `CombinedReward` means (on its own formula; below on TRL's run)."""
    size = 4
    reward = CombinedReward(REWARDS, Fixed(WEIGHTS), Combination(combine), SCALES, size)
    prompts = [prompt for prompt in PROMPTS[:3] for _ in range(size)]
    texts = [f"{'a' * (i % 5)}{'!' * (i % 3)}~" for i in range(len(prompts))]
    found = torch.tensor(reward(prompts, texts)).view(3, size)
    advantages = found - (found.sum(1, keepdim=True) - found) / (size - 1)
    raw = torch.tensor([letters(prompts, texts), low(prompts, texts)], dtype=torch.float64)
    table = (raw.T - torch.tensor([1.0, -3.0])) / torch.tensor([2.0, 5.0])
    weights = torch.tensor([[0.7, 0.3]], dtype=torch.float64).expand(3, 2)
    expected = combine(table.view(3, size, 2).double(), weights)
    torch.testing.assert_close(advantages.double(), expected, atol=1e-6, rtol=1e-6)
    assert reward.mean_weights == pytest.approx(WEIGHTS)
    with pytest.raises(InputError, match="4 completions of each prompt"):
        reward(prompts[1:], texts[1:])


def test_near_is_minus_the_sample_s_log_ratio():
    policy, initial = load_backbone("tiny-random"), load_backbone("tiny-random")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(1.2)
    texts = ["ab", "c", "", "xyz"]
    rows, sampling = [("Say:", texts)], Decoding(3)
    ratios = [sample_log_probs(who, rows, sampling, token_budget=64) for who in (policy, initial)]
    reward = CombinedReward(
        REWARDS, Fixed(SteeringWeights(letters=0, low=1)), Combination(kl=2.0),
        (RewardScale(0, 1), RewardScale(0, 1e9)), 4, lambda prompts, completions: ratios[0] - ratios[1],
    )  # fmt: skip
    found = torch.tensor(reward(["Say:"] * 4, texts)) * 4 / 3
    near = (ratios[1] - ratios[0]).double()
    torch.testing.assert_close(found.double(), 2 * (near - near.mean()), atol=1e-5, rtol=1e-5)


def test_a_rendered_prompt_that_was_cut_is_read_as_the_policy_reads_it():
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(4)]
    pairs = pl.load_pairs(rows, "lively", shares=(1, 0, 0))
    model = pl.fit_reward(pairs, model="tiny-random", training=pl.Training(bf16=False))
    cut, texts = " word<|im_end|>\n<|im_start|>assistant\n", ("yes", "no")
    direct = model.score_decisions([Decision(cut, texts)])[0].mean.tolist()
    functions, _ = open_rewards({"lively": model}, "float32", partial(reward_of_samples, turns=True))
    assert functions["lively"]([cut, cut], texts) == direct
    assert RewardFunction(model)([cut, cut], texts) != pytest.approx(direct, rel=1e-3)
    rounds = SimpleNamespace(
        _divergence=AIRL, _limited=lambda x: x, _config=AdversarialConfig(), _turns=False
    )
    assert Rounds._reward(rounds, model, load_backbone("tiny-random"))([cut, cut], texts) == direct


@pytest.mark.parametrize("turns", [None, True])
def test_rewards_on_one_trunk_are_computed_together(tmp_path, turns):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(4)]
    for seed, name in enumerate(("one", "other")):
        pl.fit_reward(
            pl.load_pairs(rows, name, shares=(1, 0, 0)), model="tiny-random", out=tmp_path / name, seed=seed,
            training=pl.Training(bf16=False, layers=1),
        )  # fmt: skip
    given = {"one": tmp_path / "one", "low": low, "other": tmp_path / "other"}
    kind = reward_of_texts if turns is None else partial(reward_of_samples, turns=turns)
    functions, _ = open_rewards(given, "float32", kind)
    prompts, texts = ["Say 1:", "Say 2:"], [[" yes", " no"], [" maybe", ""]]
    flat = ["Say 1:", "Say 1:", "Say 2:", "Say 2:"], [" yes", " no", " maybe", ""]
    alone = {name: functions[name](*flat) for name in given}
    passes = []
    # The first call also tries whether the trunk can be cut.
    reward_table(functions, list(given), prompts, texts)
    for name in ("one", "other"):
        first = trunk_layers(functions[name].model.backbone.model)[0]
        first.self_attn.register_forward_pre_hook(lambda *_: passes.append(1))
    found = reward_table(functions, list(given), prompts, texts)
    assert len(passes) == 1
    assert {name: found[..., i].flatten().tolist() for i, name in enumerate(given)} == alone
    assert alone["one"] != alone["other"]


def test_rewards_are_functions_folders_or_loaded(tmp_path):
    (tmp_path / "mine.py").write_text("def low(prompts, texts): return [len(text) for text in texts]\n")
    spec = f"function:{tmp_path}/mine.py:low"
    functions, sources = open_rewards({"a": letters, "b": spec, "c": FunctionReward("c", letters)}, "float32")
    assert functions["a"] is letters
    assert functions["b"](["p", "p"], ["x", "xyz"]) == [1.0, 3.0]
    assert functions["c"](["p"], ["xyz"]) == letters(["p"], ["xyz"])
    own = {"source": "letters", **reward_provenance(letters)}
    assert sources == {
        "a": own, "b": {"source": spec, **reward_provenance(spec)}, "c": {**own, "source": "c"}
    }  # fmt: skip
    with pytest.raises(InputError, match=r"rewards\.d.*expected a reward, found 3"):
        open_rewards({"d": 3}, "float32")
