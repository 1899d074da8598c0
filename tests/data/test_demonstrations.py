from dataclasses import replace

import pytest
from json_lines import write

from pluralign.core import Demonstration, InputError
from pluralign.core.messages import dialogue
from pluralign.core.records import write_records
from pluralign.data.load import load_demonstrations, load_pairs, load_scored
from pluralign.pair.recipes import pair_completions

ASK = [{"role": "user", "content": "Hi"}]
ANSWER = {"role": "assistant", "content": "Hello"}


def test_every_form_gives_prompt_and_completion(tmp_path):
    rows = [
        {"prompt": "Say a:", "completion": " a"},
        {"prompt": ASK, "completion": [ANSWER]},
        {"prompt": ASK, "completion": " as it was drawn"},
        {"messages": [*ASK, ANSWER]},
        {"prompt": "Say b:", "chosen": " b", "rejected": " c"},
        {"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: x\n\nAssistant: z"},
    ]
    for number, row in enumerate(rows):
        source = write(tmp_path / f"{number}.jsonl.gz", [row])
        found = load_demonstrations(source, "good", "train").rows
        assert len(found) == 1
        assert found[0].objective == "good"
    texts = [load_demonstrations(tmp_path / f"{n}.jsonl.gz", split="test").rows[0] for n in range(len(rows))]
    opened = dialogue(ASK, True)
    assert [(row.prompt, row.completion) for row in texts] == [
        ("Say a:", " a"),
        (opened, " Hello"),
        (opened, " as it was drawn"),
        (opened, " Hello"),
        ("Say b:", " b"),
        ("\n\nHuman: x\n\nAssistant:", " y"),
    ]
    assert {row.split for row in texts} == {"test"}


@pytest.mark.parametrize("load", [load_demonstrations, load_scored])
def test_chosen_completions_are_in_the_splits_of_their_pairs(load):
    """A whole text is cut at another place in each pair, which makes another prompt of its beginning."""
    good = [f"story {i} of a dog and a cat" for i in range(60)]
    rows = [
        {"chosen": text, "rejected": " ".join([*text.split()[:k], "end"]), "reward": 1.0}
        for text in good
        for k in (2, 3, 4)
    ]
    found, pairs = load(rows, shares=(0.5, 0.25, 0.25)), load_pairs(rows, shares=(0.5, 0.25, 0.25))
    assert [row.split for row in found] == [pair.split for pair in pairs]
    homes = {text: {row.split for row in found if row.prompt + row.completion == text} for text in good}
    assert {len(splits) for splits in homes.values()} == {1}


def test_what_is_left_out_is_counted(tmp_path):
    rows = [
        {"prompt": "a", "completion": " "},
        {"prompt": "a", "completion": "b"},
        {"prompt": None, "completion": None, "chosen": "\n\nHuman: 1\n\nAssistant: y",
         "rejected": "\n\nHuman: 2\n\nAssistant: z"},
    ]  # fmt: skip
    found = load_demonstrations(write(tmp_path / "d.jsonl", rows))
    assert (found.counts["empty"], found.counts["unusable"], found.counts["demonstrations"]) == (1, 1, 1)


@pytest.mark.parametrize("template", ["dialogue", "chat"])
@pytest.mark.parametrize("silence", ["", [{"role": "assistant", "content": " "}]])
def test_an_answer_without_text_is_empty_whatever_ends_its_turn(template, silence):
    rows = [{"prompt": ASK, "completion": silence}, {"prompt": ASK, "completion": "b"}]
    found = load_demonstrations(rows, template=template, model="tiny-random")
    assert (found.counts["empty"], found.counts["demonstrations"]) == (1, 1)


def test_the_chosen_completions_of_a_file_of_pairs(tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(30)]
    pairs, path = load_pairs(rows, "good"), tmp_path / "pairs.jsonl"
    write_records(path, "pairs", pairs)
    found, direct = load_demonstrations(path), load_demonstrations(rows, "good")
    assert found.rows == tuple(replace(row, source=str(path)) for row in direct)
    assert found.counts == direct.counts
    write_records(path, "pairs", [replace(pairs[0], weight=0.5)])
    with pytest.raises(InputError, match="labels may be wrong"):
        load_demonstrations(path)


def test_a_prompt_has_one_split_in_every_file(tmp_path):
    first = write(tmp_path / "a.jsonl", [{"prompt": f"p{i}", "completion": "x"} for i in range(50)])
    second = write(
        tmp_path / "b.jsonl", [{"prompt": f"p{i}", "completion": "y"} for i in reversed(range(50))]
    )
    splits = [{r.prompt: r.split for r in load_demonstrations(path).rows} for path in (first, second)]
    assert splits[0] == splits[1]
    assert set(splits[0].values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"prompt": "a"}, "completion"),
        ({"prompt": "a", "completion": 3}, "completion"),
        ({"prompt": 3, "completion": "a"}, "prompt"),
        ({"prompt": [{"role": "user"}], "completion": "a"}, "prompt"),
        ({"messages": [ANSWER]}, "messages"),
        ({"messages": [ANSWER, *ASK]}, "messages"),
    ],
)
def test_bad_rows_are_told(row, field, tmp_path):
    source = write(tmp_path / "d.jsonl", [{**dict.fromkeys(row), "prompt": "ok", "completion": "ok"}, row])
    with pytest.raises(InputError, match=rf"d.jsonl:2, field '{field}'"):
        load_demonstrations(source)


def test_nothing_usable_is_told(tmp_path):
    with pytest.raises(InputError, match="no usable completion"):
        load_demonstrations(write(tmp_path / "d.jsonl", [{"prompt": "a", "completion": ""}]))
    with pytest.raises(InputError, match="no such file"):
        load_demonstrations(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="is empty"):
        Demonstration("a", " ")


def rows(prompt, *texts, split="train"):
    return [Demonstration(prompt, text, split=split) for text in texts]


def shown(result):
    told = []
    for pair in result.rows:
        steps = [pair.chosen.steps[0], pair.rejected.steps[0]]
        assert steps[0].decision == steps[1].decision
        told.append((steps[0].decision.prompt, *(step.decision.options[step.action] for step in steps)))
    return told


def test_samples_are_paired_one_by_one_and_a_demonstration_with_each():
    found = pair_completions(
        [*rows("p", "a", "b", "c"), *rows("q", "demo")],
        [*rows("q", "1", "2"), *rows("p", "x", "y"), *rows("r", "alone")],
        objective="good",
        recipe="init-sft",
    )
    assert shown(found) == [
        ("p", "a", "x"), ("p", "b", "y"), ("q", "demo", "1"), ("q", "demo", "2"),
    ]  # fmt: skip
    assert found.counts["unmatched"] == 1
    assert found.counts["surplus"] == 1
    assert {pair.rater for pair in found.rows} == {"init-sft"}
    assert {pair.objective for pair in found.rows} == {"good"}


def test_equal_texts_are_left_out_and_at_most_so_many_taken():
    found = pair_completions(rows("p", "a", "b", "c"), rows("p", "a", "x", "y"), objective="", per_prompt=2)
    assert shown(found) == [("p", "b", "x")]
    assert found.counts["identical"] == 1
    assert found.counts["surplus"] == 2


def test_position_carries_no_label():
    many = [f"prompt {i}" for i in range(400)]
    found = pair_completions(
        [row for p in many for row in rows(p, "good")], [row for p in many for row in rows(p, "bad")],
        objective="",
    )  # fmt: skip
    first = sum(pair.chosen.steps[0].action == 0 for pair in found.rows)
    assert 150 < first < 250


def test_pairs_take_the_splits_of_what_is_preferred():
    found = pair_completions(
        [*rows("p", "a", split="test"), *rows("q", "a", split="validation")],
        [*rows("p", "b"), *rows("q", "b")],
        objective="",
    )
    assert [pair.split for pair in found.rows] == ["test", "validation"]
    assert found.counts["pairs_test"] == found.counts["pairs_validation"] == 1


def test_sources_that_do_not_fit_are_told():
    with pytest.raises(InputError, match="give no pairs"):
        pair_completions(rows("p", "a"), rows("q", "a"), objective="")
    with pytest.raises(InputError, match="several splits"):
        pair_completions([*rows("p", "a"), *rows("p", "b", split="test")], rows("p", "x", "y"), objective="")
