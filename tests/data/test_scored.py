"""Completions with rewards: as ``score`` writes them, or with a column of their own."""

from typing import Any

import pytest
from json_lines import write

from pluralign.core import InputError
from pluralign.core.level import Level
from pluralign.data.answers import load_answers
from pluralign.data.examples import ScoredCompletion
from pluralign.data.load import load_scored
from pluralign.evaluate.rewards.conflict import evaluate_conflict
from pluralign.evaluate.rewards.golden import golden_best_of_n, golden_scores
from pluralign.evaluate.rewards.targets import reach_targets


def test_both_forms_are_read(tmp_path):
    told = [{"role": "user", "content": "hi"}]
    data = write(
        tmp_path / "d.jsonl",
        [
            {"prompt": "a", "completion": "b", "rewards": {"completion": {"reward": 1.5, "sigma": 0.0}}},
            {"prompt": "a", "completion": "", "reward": 2},
            {"prompt": told, "completion": "yes", "reward": -1.0},
        ],
    )
    found = load_scored(data, "kind", split="train")
    assert found.rows[:2] == (
        ScoredCompletion("a", "b", 1.5, "kind"),
        ScoredCompletion("a", "", 2.0, "kind"),
    )
    assert found.rows[2].prompt.endswith("Assistant:")
    assert found.counts["rows"] == found.counts["completions"] == found.counts["completions_train"] == 3


def test_messages_and_chosen_halves_have_their_own_rewards(tmp_path):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    one = write(tmp_path / "m.jsonl", [{"messages": messages, "rewards": {"messages": {"reward": 3.0}}}])
    assert load_scored(one).rows[0].reward == 3.0
    scores = {"chosen": {"reward": 1.0}, "rejected": {"reward": 0.0}}
    two = write(tmp_path / "p.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c", "rewards": scores}])
    assert load_scored(two).rows[0] == ScoredCompletion(
        "a", "b", 1.0, "p", split=load_scored(two).rows[0].split
    )


def test_a_prompts_samples_share_its_split(tmp_path):
    rows = [{"prompt": f"p{i % 40}", "completion": str(i), "reward": i} for i in range(200)]
    found = load_scored(write(tmp_path / "d.jsonl", rows)).rows
    splits = {}
    for row in found:
        splits.setdefault(row.prompt, set()).add(row.split)
    assert all(len(own) == 1 for own in splits.values())
    assert {split for own in splits.values() for split in own} == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a", "completion": "b"}, "field 'reward': expected a finite number"),
        ({"prompt": "a", "completion": "b", "reward": "5"}, "found '5'"),
        ({"prompt": "a", "completion": "b", "reward": True}, "found True"),
        ({"prompt": "a", "completion": "b", "rewards": {"other": {"reward": 1.0}}}, "field 'rewards'"),
        ({"prompt": "a", "reward": 1.0}, "field 'completion': is missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_told(row, told, tmp_path):
    data = write(tmp_path / "d.jsonl", [row])
    with pytest.raises(InputError, match=told) as found:
        load_scored(data)
    assert f"{data}:1" in str(found.value)


def test_a_reward_that_is_no_number_is_told(tmp_path):
    rows = [{"prompt": "a", "completion": "b", "reward": value} for value in (1.0, float("nan"))]
    data = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(InputError, match=r"d\.jsonl:2, field 'reward'"):
        load_scored(data)
    with pytest.raises(InputError, match="row 1, field 'reward': expected a finite number"):
        load_scored([{"prompt": "a", "completion": "b", "reward": 10**400}])


# A reward that is not reached: what is refused is refused before anything is scored.
NEVER: Any = None


def test_samples_that_were_drawn_until_one_was_good_enough(tmp_path):
    """They say nothing about the model's own mean; each use of it refuses them by file, row and field."""
    fixed = {"prompt": "a", "completion": "b", "reward": 1.0}
    rows = [fixed, {**fixed, "completion": "c", "samples_drawn": 2}]
    data = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(InputError, match=r"d\.jsonl:2, field 'samples_drawn': .*no fair sample of the model"):
        load_scored(data)
    assert len(load_scored(data, adaptive=True)) == 2
    found = load_answers(data)
    with pytest.raises(InputError, match=r":2, field 'samples_drawn'"):
        reach_targets(found, {"kind": NEVER}, {"kind": Level(0.0)}, tmp_path / "t")
    with pytest.raises(InputError, match=r":2, field 'samples_drawn'"):
        golden_best_of_n(found, {"kind": NEVER}, NEVER, {}, tmp_path / "b")
    with pytest.raises(InputError, match=r":2, field 'samples_drawn'"):
        golden_scores({"kind": found}, {}, NEVER, tmp_path / "g")
    with pytest.raises(InputError, match=r":2, field 'samples_drawn'"):
        evaluate_conflict(found, {"kind": NEVER, "brief": NEVER}, tmp_path / "c")


def test_rewards_with_points_between_thousands_are_numbers(tmp_path):
    rows = "".join(f"p;answer {n};{cell}\r\n" for n, cell in enumerate(("1.200,5", "0,5", "-3", "1.200")))
    (table := tmp_path / "t.csv").write_text(f"prompt;completion;reward\r\n{rows}")
    assert [row.reward for row in load_scored(table, "kind").rows] == [1200.5, 0.5, -3.0, 1200.0]
