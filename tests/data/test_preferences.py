import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from json_lines import write

from pluralign.core import Decision, InputError, PreferencePair, Segment, Step
from pluralign.core.splits import SPLITS
from pluralign.data.load import load_pairs
from pluralign.data.rows import read_pair
from pluralign.data.text_pairs import TextPair, to_trl_rows

REAL = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """Keep the user's cache out of the tests."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


def trl(source, split=None, **settings):
    return to_trl_rows(load_pairs(source, "good", split, **settings))


PLAIN = [{"prompt": f"Question {i}?", "chosen": f" Good {i}.", "rejected": f" Bad {i}."} for i in range(20)]


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.json", "d.v2.jsonl"])
def test_json_files(tmp_path, name):
    assert trl(write(tmp_path / name, PLAIN)) == PLAIN


def test_json_array_csv_and_parquet(tmp_path):
    import pandas as pd

    rows = [*PLAIN, {"prompt": "Q", "chosen": "N/A", "rejected": "None"}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    for name in ("d.json", "d.csv", "d.parquet"):
        assert trl(tmp_path / name) == rows


def test_folders_with_splits(tmp_path):
    import datasets

    write(tmp_path / "train.jsonl", PLAIN[:5])
    write(tmp_path / "test.jsonl", PLAIN[5:8])
    result = load_pairs(tmp_path, "good")
    assert [result.counts[f"pairs_{s}"] for s in SPLITS] == [5, 0, 3]
    assert trl(tmp_path, "test") == PLAIN[5:8]
    with pytest.raises(InputError, match="has no split validation; it has train, test"):
        load_pairs(tmp_path, "good", "validation")
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_list(PLAIN[:2])})
    saved.save_to_disk(tmp_path / "saved")
    assert trl(tmp_path / "saved") == PLAIN[:2]
    # One without splits is a source without splits, as a single file is.
    datasets.Dataset.from_list(PLAIN[:8]).save_to_disk(tmp_path / "rows")
    write(tmp_path / "rows.jsonl", PLAIN[:8])
    assert load_pairs(tmp_path / "rows", "good").counts == load_pairs(tmp_path / "rows.jsonl", "good").counts
    assert trl(tmp_path / "rows", "test") == PLAIN[:8]


def test_pairs_are_one_decision_with_positions_that_say_nothing(tmp_path):
    rows = [{"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(600)]
    result = load_pairs(write(tmp_path / "d.jsonl", rows), "good", "test", seed=1)
    for p in result.rows:
        [chosen], [rejected] = p.chosen.steps, p.rejected.steps
        assert chosen.decision is rejected.decision
        assert {chosen.action, rejected.action} == {0, 1}
        assert chosen.decision.options[chosen.action].startswith("good")
        assert (p.split, p.objective, p.rater) == ("test", "good", "d.jsonl")
    at_first = sum(p.chosen.steps[0].action == 0 for p in result.rows)
    # Five standard deviations of a fair coin.
    assert abs(at_first - 300) < 5 * 600**0.5 / 2
    other = load_pairs(tmp_path / "d.jsonl", "good", "test", seed=2)
    assert [p.chosen.steps[0].action for p in other.rows] != [p.chosen.steps[0].action for p in result.rows]
    # The order hangs on the texts, not on where they stand or which is the better one.
    turned = [{"prompt": r["prompt"], "chosen": r["rejected"], "rejected": r["chosen"]} for r in rows[::-1]]
    back = load_pairs(write(tmp_path / "e.jsonl", turned), "good", "test", seed=1)
    assert {p.chosen.steps[0].decision for p in back.rows} == {
        p.chosen.steps[0].decision for p in result.rows
    }
    assert len({s.trajectory_id for p in result.rows for s in (p.chosen, p.rejected)}) == 1200


def test_no_prompt_is_in_two_splits(tmp_path):
    rows = [{"prompt": f"Q{i % 40}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(400)]
    result = load_pairs(write(tmp_path / "d.jsonl", rows), "good", shares=(0.5, 0.25, 0.25))
    homes = {}
    for p in result.rows:
        prompt = p.chosen.steps[0].decision.prompt
        assert homes.setdefault(prompt, p.split) == p.split
    assert set(homes.values()) == set(SPLITS)


def homes_of(pairs):
    """Splits of each text and each prompt."""
    found = {}
    for pair in pairs:
        for prompt, completion in pair.texts():
            for text in {prompt + completion, prompt} - {""}:
                found.setdefault(text, set()).add(pair.split)
    return found


def test_no_text_without_a_prompt_is_in_two_splits():
    # Scenarios that are compared in a chain; their common beginnings differ from pair to pair.
    rows = [
        {"chosen": f"Day {i}. {'I rest well. ' * k}", "rejected": f"Day {i}. {'I rest well. ' * (k + 1)}Oh."}
        for i in range(60)
        for k in range(3)
    ]
    for one, other in pairwise(rows):
        if one["chosen"].split(".")[0] == other["chosen"].split(".")[0]:
            other["chosen"] = one["rejected"]
    pairs = load_pairs(rows, "good", shares=(0.5, 0.25, 0.25))
    homes = homes_of(pairs)
    assert all(len(homes[row[side]]) == 1 for row in rows for side in ("chosen", "rejected"))
    counts = [pairs.counts[f"pairs_{name}"] for name in SPLITS]
    # Whole families move: the shares stay what they are in expectation.
    assert 60 < counts[0] < 120
    assert min(counts) > 15
    # A pair that shares nothing has the split that it has alone.
    alone = {"chosen": "It is noon here.", "rejected": "It is night here."}
    assert load_pairs([*rows, alone], "good").rows[-1].split == load_pairs([alone], "good").rows[0].split


def test_rejected_prompts_stay_with_the_pairs_that_have_them():
    def dialogue(i, answer):
        return f"\n\nHuman: Tell {i}.\n\nAssistant: {answer}"

    crossed = [{"chosen": dialogue(i, "yes"), "rejected": dialogue(i + 1, "no")} for i in range(0, 90, 2)]
    own = [{"chosen": dialogue(i, "yes"), "rejected": dialogue(i, "no")} for i in range(90)]
    pairs = load_pairs([*crossed, *own], "good", two_prompts=True, shares=(0.5, 0.25, 0.25))
    assert pairs.counts["prompts_differ"] == 45
    assert all(len(splits) == 1 for splits in homes_of(pairs).values())
    assert {pair.split for pair in pairs} == set(SPLITS)


# --- prompts that are not told apart ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", " blue.", " green.")),
        # Letters that two words begin with are no prompt.
        ("I visited the store.", "I visited the station.", ("I visited the", " store.", " station.")),
        # A text that goes on where the other ends leaves it a word.
        ("I made a cake. We ate.", "I made a cake", ("I made a", " cake. We ate.", " cake")),
        ("One word", "One  word", ("One", " word", "  word")),
        ("Yes.", "No.", ("", "Yes.", "No.")),
        ("a\n\nb", "a\n\nc", ("a", "\n\nb", "\n\nc")),
    ],
)
def test_common_words_are_the_prompt(chosen, rejected, expected):
    found = read_pair({"chosen": chosen, "rejected": rejected})
    assert (found.prompt + found.chosen, found.prompt + found.rejected) == (chosen, rejected)
    assert found == TextPair(*expected)


def test_dialogues_split_at_the_last_turn():
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    found = read_pair({"chosen": f"{start} So it is.", "rejected": f"{start} So what."})
    assert found == TextPair(start, " So it is.", " So what.")


def test_rows_that_cannot_be_used():
    start = "\n\nHuman: Hi\n\nAssistant:"
    rows = {
        "prompts_differ": (
            f"{start} a\n\nHuman: x\n\nAssistant: b",
            f"{start} c\n\nHuman: x\n\nAssistant: d",
        ),
        "identical": (f"{start} a", f"{start} a"),
        "empty": (f"{start} a", f"{start} "),
    }
    for reason, (chosen, rejected) in rows.items():
        assert read_pair({"chosen": chosen, "rejected": rejected}) == reason
    assert read_pair({"prompt": "p", "chosen": "a", "rejected": " \n"}) == "empty"
    assert read_pair({"prompt": "p", "chosen": "a", "rejected": "a"}) == "identical"


def test_they_are_counted(tmp_path):
    bad = [{"prompt": "p", "chosen": "a", "rejected": ""}, {"prompt": "p", "chosen": "a", "rejected": "a"}]
    result = load_pairs(write(tmp_path / "d.jsonl", [*PLAIN, *bad]), "good")
    assert result.counts["rows"] == 22
    assert (result.counts["empty"], result.counts["identical"], result.counts["prompts_differ"]) == (1, 1, 0)
    assert result.counts["pairs"] == 20 == sum(result.counts[f"pairs_{s}"] for s in SPLITS)
    with pytest.raises(InputError, match=r"e\.jsonl: holds no usable preference pair"):
        load_pairs(write(tmp_path / "e.jsonl", bad), "good")


# --- conversations ----------------------------------------------------------------------------------


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


# --- what is wrong, and where -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p", "chosen": "a"}], r"d\.jsonl:1, field 'rejected': is missing"),
        ([*PLAIN[:2], {"prompt": "p", "rejected": "a"}], r"d\.jsonl:3, field 'chosen': is missing"),
        ([{"chosen": 1, "rejected": 2}], r"d\.jsonl:1, field 'chosen': expected a text or a list of mess"),
        (
            [{"chosen": ["a"], "rejected": ["b"]}],
            r"d\.jsonl:1, field 'chosen': expected messages with a role",
        ),
        ([{"chosen": "a", "rejected": [user("x")]}], r"field 'rejected': expected the same form as chosen"),
        ([{"prompt": [user("x")], "chosen": "a", "rejected": "b"}], r"field 'prompt': is a list of messages"),
        ([PLAIN[0], {**PLAIN[1], "chosen": [user("x")]}], r"d\.jsonl:2, field 'rejected': expected the same"),
        ([PLAIN[0], {**PLAIN[1], "chosen": 3}], r"d\.jsonl:2, field 'chosen': expected a text"),
    ],
)
def test_field_errors(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        load_pairs(write(tmp_path / "d.jsonl", rows), "good")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_broken_line_is_named(tmp_path, capfd, suffix):
    data = b'{"chosen": "a", "rejected": "b"}\n{"chosen": "a",\n'
    file = tmp_path / f"d.jsonl{suffix}"
    file.write_bytes(gzip.compress(data) if suffix else data)
    with pytest.raises(InputError, match=rf"d\.jsonl{suffix}:2: not JSON"):
        load_pairs(file, "good")
    assert capfd.readouterr() == ("", "")


def test_cut_off_archives_and_absent_files(tmp_path):
    file = write(tmp_path / "d.jsonl.gz", PLAIN)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"d\.jsonl\.gz: cannot be read"):
        load_pairs(file, "good")
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        load_pairs(tmp_path / "none.jsonl", "good")
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(InputError, match=r"d\.txt: expected one of \.json"):
        load_pairs(tmp_path / "d.txt", "good")
    (tmp_path / "e.jsonl").write_text("")
    with pytest.raises(InputError, match=r"e\.jsonl"):
        load_pairs(tmp_path / "e.jsonl", "good")


def test_a_hub_that_cannot_be_reached(monkeypatch):
    import datasets

    def unreachable(*args, **settings):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match=r"some/set: cannot be read: no such file.*Couldn't reach the Hub"):
        load_pairs("some/set", "good")


def test_hub_ids_go_to_datasets_and_their_splits_stay(monkeypatch):
    import datasets

    rows = {"train": PLAIN[:3], "test": PLAIN[3:5], "extra": PLAIN[5:]}
    parts = {name: datasets.Dataset.from_list(own) for name, own in rows.items()}
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, **settings: parts if name == "some/set" else {}
    )
    result = load_pairs("some/set", "good")
    assert [p.split for p in result.rows] == ["train"] * 3 + ["test"] * 2
    assert result.rows[0].rater == "some/set"


def test_only_one_step_pairs_are_rows():
    steps = tuple(Step(Decision(p, ("a", "b")), 0) for p in "xy")
    pair = PreferencePair(Segment("t", 0, steps), Segment("u", 0, steps[:1]), "good")
    with pytest.raises(InputError, match=r"row 1: .*this segment has 2"):
        to_trl_rows([pair])


@pytest.mark.parametrize(
    ("name", "rows", "differ"),
    [
        ("hh_rlhf/harmless", 1800, 3),
        ("hh_rlhf/helpful", 1842, 8),
        ("hh_rlhf/helpful_online", 1137, 0),
        ("hh_rlhf/helpful_rejection_sampled", 2749, 3),
        ("ethics/utilitarianism", 13738, 0),
    ],
)
def test_real_data(name, rows, differ):
    file = REAL / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    result = load_pairs(file, "good")
    assert result.counts["rows"] == rows
    assert result.counts["prompts_differ"] == differ
    if name.startswith("ethics"):
        whole = {}
        for pair in result:
            for prompt, completion in pair.texts():
                whole.setdefault(prompt + completion, set()).add(pair.split)
        assert all(len(splits) == 1 for splits in whole.values())
    dropped = sum(result.counts[k] for k in ("prompts_differ", "empty", "identical"))
    assert result.counts["pairs"] == rows - dropped > 0.98 * rows
    with gzip.open(file, "rt") as handle:
        originals = {(r["chosen"], r["rejected"]) for r in map(json.loads, handle)}
    for row in to_trl_rows(result.rows):
        assert (row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]) in originals
        if name.startswith("hh"):
            assert row["prompt"].endswith("\n\nAssistant:")
