"""Ensembles of rewards, and by what a reward is known when its weights change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_rewards import DECISIONS, classifier

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.files import write_json
from pluralign.evaluate.rewards.score_rows import score_rows
from pluralign.folders.card import Card
from pluralign.learn.texts.modpo import open_margin
from pluralign.rewards.ensemble import (
    RewardEnsemble,
    Scale,
    lower_bound,
    mean_reward,
    measure_scales,
    minimum_reward,
    save_ensemble,
    scale_of,
)
from pluralign.rewards.identity import reward_identity, reward_provenance
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward_model import load_reward_model


class Fixed:
    def __init__(self, name, means, sigmas=None):
        self.counts = {"completions": 0}
        self.name, self._means = name, means
        self._sigmas = sigmas or dict.fromkeys(means, 0.0)

    def render(self, messages, opens):
        return self.name[:1] + messages[0]["content"]

    def score_decisions(self, decisions):
        return [
            OptionRewards(
                np.array([self._means[o] for o in d.options]), np.array([self._sigmas[o] for o in d.options])
            )
            for d in decisions
        ]


ONE = Fixed("first", {"a": 0.0, "b": 2.0, "c": 4.0}, {"a": 0.0, "b": 2.0, "c": 0.0})
TWO = Fixed("fourth", {"a": 30.0, "b": 20.0, "c": 10.0})
ALL = Decision("p", ("a", "b", "c"))


def test_members_are_brought_to_one_scale_and_combined():
    scales = [Scale(2.0, 2.0), Scale(20.0, 10.0)]
    # Standardised: (-1, 0, 1) and (1, 0, -1).
    for combine, expected in ((mean_reward, [0, 0, 0]), (minimum_reward, [-1, 0, -1])):
        found = RewardEnsemble([ONE, TWO], scales, combine).score_decisions([ALL])[0]
        np.testing.assert_allclose(found.mean, expected, atol=1e-12)
    found = RewardEnsemble([ONE, TWO], scales, lower_bound).score_decisions([ALL])[0]
    # Disagreement 1 at the ends; in the middle the first member's own sigma, 1, averaged over two: sqrt(1/2).
    np.testing.assert_allclose(found.sigma, [1, np.sqrt(0.5), 1])
    np.testing.assert_allclose(found.mean, [-1, -np.sqrt(0.5), -1])


def test_scales_are_those_within_prompts():
    found = measure_scales([ONE, TWO], [ALL, Decision("q", ("a", "a"))])
    assert found[0].mean == pytest.approx(6 / 5)
    assert found[0].deviation == pytest.approx(np.sqrt((4 + 4) / 5))
    alone = measure_scales([ONE], [Decision("p", ("a",)), Decision("q", ("c",))])
    assert alone == [Scale(2.0, 2.0)]
    with pytest.raises(InputError, match="the same reward"):
        measure_scales([ONE], [Decision("p", ("a", "a"))])
    with pytest.raises(InputError, match="the same reward"):
        scale_of([np.full(3, 0.1)], "constant")
    with pytest.raises(InputError, match="no completions"):
        measure_scales([ONE], [])


def test_an_ensemble_comes_back_from_its_folder_wherever_one_stands(made, tmp_path, monkeypatch):
    specs = [str(made / "rm0"), str(made / "rm1"), f"closed-form:{made / 'sft'}"]
    members = {spec: load_reward(spec) for spec in specs}
    scales = measure_scales(list(members.values()), DECISIONS)
    save_ensemble(made / "all", members, scales, "minimum", Card("ensemble"))
    expected = RewardEnsemble(list(members.values()), scales, minimum_reward).score_decisions(DECISIONS)
    monkeypatch.chdir(tmp_path)
    found = load_reward(str(made / "all"))
    for a, b in zip(expected, found.score_decisions(DECISIONS), strict=True):
        np.testing.assert_array_equal(a.mean, b.mean)
    assert found.render([{"role": "user", "content": "x"}], True).startswith("\n\nHuman")
    card = json.loads((made / "all" / "card.json").read_text())
    assert card["members"][0] == "../rm0"
    assert card["members"][2] == "closed-form:../sft"
    with pytest.raises(InputError, match="expected a reward model"):
        load_reward_model(made / "all")


def save_both(made, folder):
    """An ensemble of copies of two rewards, in the folder, which is the working directory."""
    for member in ("rm0", "rm1"):
        shutil.copytree(made / member, folder / member)
    members = {member: load_reward(member) for member in ("rm0", "rm1")}
    save_ensemble(folder / "both", members, [Scale(0, 1)] * 2, "mean", Card("ensemble"))


def test_rewards_of_changed_weights_have_another_identity(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_both(made, tmp_path)
    model, tokenizer = classifier("gpt2")
    model.save_pretrained("other")
    tokenizer.save_pretrained("other")
    before = [reward_identity("both"), reward_identity("classifier:other")]
    assert before == [reward_identity("both"), reward_identity("classifier:other")]
    margin = open_margin("both").provenance
    shutil.rmtree("rm1")
    shutil.copytree(made / "rm0", "rm1")
    torch.nn.init.ones_(model.score.weight)
    model.save_pretrained("other")
    for old, spec in zip(before, ("both", "classifier:other"), strict=True):
        assert reward_identity(spec) != old
    assert open_margin("both").provenance != margin
    known = (reward_identity, reward_provenance, lambda spec: open_margin(spec).provenance)
    before = [identify("classifier:other") for identify in known]
    assert before == [identify("classifier:other") for identify in known]
    (tmp_path / "other" / "chat_template.jinja").write_text("{{ messages }}")
    for identify, old in zip(known, before, strict=True):
        assert identify("classifier:other") != old


def test_rows_scored_by_other_members_are_not_continued(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_both(made, tmp_path)
    rows = Path("rows")
    rows.mkdir()
    write_json(rows / "train.json", [{"prompt": f"Say {one}:", "completion": f" {one}!"} for one in "ab"])
    monkeypatch.setattr("pluralign.evaluate.rewards.score_rows._BATCH", 1)
    known = RewardEnsemble.score_decisions

    def score(out, interrupted=False):
        seen = []

        def once(self, decisions):
            seen.append(0)
            if interrupted and len(seen) > 1:
                raise KeyboardInterrupt
            return known(self, decisions)

        monkeypatch.setattr(RewardEnsemble, "score_decisions", once)
        score_rows("both", "rows", Path(out))
        return len(seen), Path(out).read_text()

    with pytest.raises(KeyboardInterrupt):
        score("a.jsonl", interrupted=True)
    shutil.rmtree("rm1")
    shutil.copytree(made / "rm0", "rm1")
    assert score("a.jsonl") == score("b.jsonl")
    with pytest.raises(KeyboardInterrupt):
        score("c.jsonl", interrupted=True)
    write_json(rows / "train.json", [{"prompt": f"Say {one}:", "completion": f" {one}?"} for one in "ab"])
    assert score("c.jsonl") == score("d.jsonl")
    with pytest.raises(KeyboardInterrupt):
        score("e.jsonl", interrupted=True)
    assert score("e.jsonl")[0] == 1


def test_ensembles_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="two members"):
        RewardEnsemble([ONE], [Scale(0, 1)])
    other = Fixed("second", {})
    with pytest.raises(InputError, match="different templates"):
        RewardEnsemble([ONE, other], [Scale(0, 1)] * 2).render([{"role": "user", "content": "x"}], True)
