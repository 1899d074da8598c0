"""Scoring of several sources: each prompt is read once for all of them, and rows come back in their order."""

from collections import Counter

import numpy as np
import pytest
import torch
from json_lines import rows_of
from tiny_rewards import classifier

from pluralign.core import InputError, SteeringWeights
from pluralign.data.answers import Answers, load_answers
from pluralign.evaluate.rewards import scored
from pluralign.evaluate.rewards.choose import choose_best
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.tensors import seeded
from pluralign.rewards.function import FunctionReward
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.together import score_together


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
    read, whole = Counter(), CompletionReader.read

    def watched(self, prompt, completions):
        read[prompt] += 1
        return whole(self, prompt, completions)

    wanted = [(name, source) for name in rewards for source in SOURCES]
    alone = {
        (name, source): [
            reward.score_decisions([one.decision(reward.render)])[0].mean.tolist() for one in own
        ]
        for name, reward in rewards.items()
        for source, own in SOURCES.items()
    }
    monkeypatch.setattr(CompletionReader, "read", watched)
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


def test_a_warning_is_about_the_texts_that_were_scored_here(rewards, tmp_path, caplog):
    def warnings(number, **sources):
        caplog.clear()
        wanted = [("r0", name) for name in sources]
        score_sources(rewards, sources, tmp_path / f"{number}.jsonl", wanted=wanted)
        return caplog.messages

    long = "x" * 2000
    rewards["r0"].score(["p"], [long])
    assert warnings(1, a=SOURCES["a"]) == []
    (cut,) = warnings(2, a=rows(("p", long), ("q", "one")), b=SOURCES["b"])
    assert cut.startswith("rewards by r0: 1 completion cut, ")
    assert warnings(3, a=SOURCES["b"]) == []


def test_rewards_on_one_trunk_score_together_and_are_continued(rewards, tmp_path, monkeypatch):
    alone = FunctionReward("brief", lambda prompts, texts: [-float(len(text)) for text in texts])
    scorers = {"r0": rewards["r0"], "brief": alone, "r1": rewards["r1"]}
    wanted = [(name, source) for name in scorers for source in SOURCES]
    batches = []

    def watched(chosen, decisions):
        batches.append({name: [one.prompt for one in own] for name, own in decisions.items()})
        if len(batches) == stops_at:
            raise KeyboardInterrupt
        return score_together(chosen, decisions)

    monkeypatch.setattr(scored, "score_together", watched)
    monkeypatch.setattr(scored, "_BATCH", 2)
    # Functions cannot be identified, and their runs not continued.
    monkeypatch.setattr(scored, "reward_identity", lambda scorer: [scorer.name])
    stops_at, path = 2, tmp_path / "rewards.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score_sources(scorers, SOURCES, path, wanted=wanted)
    found = score_sources(scorers, SOURCES, path, wanted=wanted)
    both = [{"r0": own, "r1": own} for own in (["p"], ["q", "r"])]
    # One batch was finished; the second one was interrupted, and came again.
    assert batches == [both[0], both[1], both[1], {"brief": ["p"]}, {"brief": ["q", "r"]}]
    stops_at = 0
    whole = score_sources(scorers, SOURCES, tmp_path / "whole.jsonl", wanted=wanted)
    assert found == whole
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    for name, one in scorers.items():
        own = score_sources({name: one}, SOURCES, tmp_path / f"{name}.jsonl", wanted=[(name, "a")])
        for values, expected in zip(found[name, "a"], own[name, "a"], strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_file_of_something_else_is_not_replaced(rewards, tmp_path):
    path = tmp_path / "rewards.jsonl"
    path.write_text('{"prompt": "p", "completion": "one"}\n')
    with pytest.raises(InputError, match="is not a file of kept rewards"):
        score_sources(rewards, SOURCES, path, wanted=[("r0", "a")])
    assert path.read_text() == '{"prompt": "p", "completion": "one"}\n'
    path.write_text("")
    for wanted in ([("r0", "a")], [("r1", "a")]):
        assert set(score_sources(rewards, SOURCES, path, wanted=wanted)) == set(wanted)


def test_tools_of_a_prompt_are_kept_and_rewards_with_other_tools_are_not_taken(tmp_path):
    model, tokenizer = classifier("gpt2")
    torch.nn.init.normal_(model.score.weight)
    tokenizer.chat_template = (
        "{{ tools | tojson if tools else '' }}{% for one in messages %}<{{ one.role }}>{{ one.content }}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    model.save_pretrained(tmp_path / "classifier")
    tokenizer.save_pretrained(tmp_path / "classifier")
    rewards = {"good": f"classifier:{tmp_path / 'classifier'}"}

    def chosen(tool, kept):
        row = {
            "prompt": [{"role": "user", "content": "Will it rain?"}],
            "tools": [{"type": "function", "function": {"name": tool, "parameters": {}}}],
        }
        answers = [[{"role": "assistant", "content": text}] for text in ("Yes.", "I do not know.")]
        draws = load_answers([{**row, "completion": answer} for answer in answers])
        found = choose_best(draws, rewards, SteeringWeights(good=1.0), tmp_path / kept)
        found.save(tmp_path / "best.jsonl")
        assert rows_of(tmp_path / "best.jsonl")[0].items() >= row.items()
        return found.rewards["good"][0].mean.tolist()

    first = chosen("forecast", "kept.jsonl")
    assert chosen("forecast", "kept.jsonl") == first
    assert chosen("look_outside", "kept.jsonl") == chosen("look_outside", "other.jsonl") != first
