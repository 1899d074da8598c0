"""Scoring of several sources: each prompt is read once for all of them, and rows come back in their order."""

from collections import Counter

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.data.answers import Answers
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.lm.backbone import load_backbone
from pluralign.lm.tensors import seeded
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel


def rows(*given):
    return [Answers(prompt, texts, "", i) for i, (prompt, *texts) in enumerate(given, start=1)]


SOURCES = {
    "a": rows(("p", "one", "two"), ("q", "three"), ("r", "four")),
    "b": rows(("r", "five", "four"), ("p", "two")),
}


@pytest.fixture(scope="module")
def rewards():
    backbone = load_backbone("tiny-random")
    found = {}
    for seed in (0, 1):
        with seeded(seed):
            found[f"r{seed}"] = RewardModel(
                f"r{seed}", backbone, RewardHead(backbone.hidden_size, HeadShape())
            )
    return found


def test_prompts_that_sources_share_are_read_once(rewards, tmp_path, monkeypatch):
    read, scored = Counter(), RewardModel.score_decisions

    def watched(self, decisions):
        known = list(decisions)
        read.update(decision.prompt for decision in known)
        return scored(self, known)

    wanted = [(name, source) for name in rewards for source in SOURCES]
    alone = {
        (name, source): [
            reward.score_decisions([one.decision(reward.render)])[0].mean.tolist() for one in own
        ]
        for name, reward in rewards.items()
        for source, own in SOURCES.items()
    }
    monkeypatch.setattr(RewardModel, "score_decisions", watched)
    found = score_sources(rewards, SOURCES, tmp_path / "rewards.jsonl", wanted=wanted)
    assert read == {"p": 2, "q": 2, "r": 2}
    again = score_sources(rewards, SOURCES, tmp_path / "rewards.jsonl", wanted=wanted)
    assert sum(read.values()) == 6
    assert again == found
    assert set(found) == set(alone)
    for pair, rows in alone.items():
        for own, other in zip(found[pair], rows, strict=True):
            np.testing.assert_allclose(own, other, atol=1e-5)
    assert found["r0", "a"] != found["r1", "a"]


def test_a_file_of_something_else_is_not_replaced(rewards, tmp_path):
    path = tmp_path / "rewards.jsonl"
    path.write_text('{"prompt": "p", "completion": "one"}\n')
    with pytest.raises(InputError, match="is not a file of kept rewards"):
        score_sources(rewards, SOURCES, path, wanted=[("r0", "a")])
    assert path.read_text() == '{"prompt": "p", "completion": "one"}\n'
    path.write_text("")
    for wanted in ([("r0", "a")], [("r1", "a")]):
        assert set(score_sources(rewards, SOURCES, path, wanted=wanted)) == set(wanted)
