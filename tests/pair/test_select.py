"""Selection of pairs: the golden values of D3, and what a model reads in pairs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.cli import main
from pluralign.core import InputError, OptionRewards
from pluralign.core.records import read_pairs
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.pair.select import difficulty, farthest_first, worthiest
from pluralign.pair.traits import read_traits
from pluralign.rewards.reward import Reward

ROWS = [{"prompt": f"Say {i % 4}:", "chosen": f" {i} yes", "rejected": " no"} for i in range(12)]


@pytest.fixture(scope="module")
def pairs():
    return pl.load_pairs(ROWS, "agreement", "train")


def test_difficulty_is_a_half_at_loss_0_and_entropy_0():
    assert difficulty(np.zeros(1), np.zeros(1), 100).tolist() == [0.5]
    losses, entropies = np.array([0.0, 2.0, 2.0]), np.array([0.0, math.log(10), math.log(100)])
    found = difficulty(losses, entropies, 100)
    assert found == pytest.approx([0.5, 0.5 / (1 + math.exp(-2)), 0.0])
    # Where (log V)^beta is below the entropy, nothing is left.
    assert difficulty(losses[:2], entropies[:2], 100, beta=0.5)[1] == 0
    for wrong in (np.array([-1.0]), np.array([np.nan]), np.zeros(2)):
        with pytest.raises(InputError):
            difficulty(np.zeros(1), wrong, 100)


def test_equal_worths_are_farthest_first():
    points = np.array([[0.0], [1.0], [3.0], [10.0], [6.0]])
    for seed in range(5):
        chosen = farthest_first(points, 4, seed=seed)
        # Each next one is the farthest from those before.
        for count in range(1, 4):
            apart = np.abs(points - points[chosen[:count], 0]).min(axis=1)
            assert apart[chosen[count]] == apart.max()
    first = {farthest_first(points, 1, seed=seed)[0] for seed in range(20)}
    assert len(first) > 2


def test_duplicates_are_chosen_once_and_the_worthless_never():
    points = np.array([[0.0, 0.1], [1.0, 0.3], [0.0, 0.1], [1.0, 0.3], [5.0, 0.0]])
    assert len(farthest_first(points, 5)) == 3
    worth = np.array([1.0, 2.0, 1.0, 1.0, 0.0])
    assert farthest_first(points, 5, worth=worth)[0] == 1
    assert len(farthest_first(points, 5, worth=worth)) == 2
    assert worthiest(worth, 9) == [1, *worthiest(np.array([1.0, 0.0, 1.0, 1.0, 0.0]), 9)]
    # Worths that are all equal but not 1 change nothing.
    assert farthest_first(points, 3, worth=np.full(5, 0.2), seed=4) == farthest_first(points, 3, seed=4)
    with pytest.raises(InputError, match="worth"):
        farthest_first(points, 2, worth=-worth)


def test_traits_are_those_of_the_texts_by_themselves(pairs, tmp_path, monkeypatch):
    backbone = make_tiny_backbone()
    found = read_traits(pairs, backbone, folder=tmp_path)
    (prompt, text), _ = pairs[5].texts()
    encode = backbone.tokenizer.encode
    start, ids = encode(prompt), [*encode(text), backbone.tokenizer.eos_token_id]
    with torch.no_grad():
        logits = backbone.model(torch.tensor([start + ids])).logits[0, len(start) - 1 : -1]
    logs = logits.double().log_softmax(-1)
    loss = -logs.gather(1, torch.tensor(ids)[:, None]).mean()
    assert found.losses[5, 0] == pytest.approx(float(loss), abs=1e-5)
    entropy = -(logs.exp() * logs).sum(-1).mean()
    assert found.entropies[5, 0] == pytest.approx(float(entropy), abs=1e-5)
    assert found.features.shape[:2] == (12, 2)

    def broken(*arguments, **more):
        raise AssertionError("read again")

    monkeypatch.setattr("pluralign.pair.traits._read", broken)
    again = read_traits(pairs, backbone, folder=tmp_path)
    assert np.array_equal(found.features, again.features)
    assert np.array_equal(found.losses, again.losses)


def test_selection_does_not_read_labels(pairs):
    flipped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    found = pl.select_pairs(pairs, 4, model="tiny-random", seed=1)
    other = pl.select_pairs(flipped, 4, model="tiny-random", seed=1)
    assert [p.chosen.steps[0].decision for p in found] == [p.chosen.steps[0].decision for p in other]
    assert found.counts == {"pairs": 12, "selected": 4}


def test_dependability_is_the_raters_agreement_or_a_rewards(pairs):
    weighted = [replace(pair, weight=0.5 + 0.04 * place) for place, pair in enumerate(pairs)]
    found = pl.select_pairs(weighted, 3, by=["dependability"])
    assert list(found) == weighted[:-4:-1]
    with pytest.raises(InputError, match="all pairs have weight 1"):
        pl.select_pairs(pairs, 3, by=["dependability"])
    with pytest.raises(InputError, match="without the criterion"):
        pl.select_pairs(pairs, 3, dependability=pl.fit_reward(pairs, model="tiny-random"))
    for by in ([], ["novelty"]):
        with pytest.raises(InputError, match="expected some of difficulty, diversity, dependability"):
            pl.select_pairs(pairs, 3, by=by)


def test_the_verb_writes_pairs(tmp_path, capsys):
    data, out = tmp_path / "pairs.jsonl", tmp_path / "chosen.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    given = [
        *("--data", data, "--budget", 5, "--out", out, "--model", "tiny-random"),
        *("--traits", tmp_path / "traits"),
    ]
    with pytest.raises(SystemExit) as ended:
        main(["select", *map(str, given)])
    assert ended.value.code == 0
    assert "5 of 12 pairs" in capsys.readouterr().out
    assert len(read_pairs(out)) == len(pl.load_pairs(out)) == 5


def test_texts_that_a_chat_template_rendered_are_read_as_they_are():
    talk = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    rows = [{"chosen": talk, "rejected": [talk[0], {"role": "assistant", "content": "no"}]}] * 2
    pairs = pl.load_pairs(rows, "o", template="chat", model="tiny-random")
    read: list[str] = []

    class Reader(Reward):
        name, counts = "reader", {}
        template = replace(pairs.template, quote_completion=lambda text: f"quoted {text}")

        def render(self, messages, opens):
            return self.template(messages, opens)

        def score_decisions(self, decisions):
            read.extend(text for one in decisions for text in one.options)
            return [OptionRewards(np.array([2.0, 1.0]), np.zeros(2)) for _ in decisions]

    assert len(pl.select_pairs(pairs, 1, by=["dependability"], dependability=Reader())) == 1
    assert read == [text for pair in pairs for text in pair.decisions()[0].options]
