"""Files of value benchmarks and surveys, as their users have them: small cases in their forms."""

import csv
import json

import numpy as np
import pytest

import pluralign as pl
from pluralign.data.contests import load_contests
from pluralign.data.labelled import LabelColumns, load_labelled_pairs
from pluralign.data.text_choices import TextColumns, load_text_choices


def table(path, *rows):
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def nurses(path):
    """Behaviours, each with a counterpart of reversed polarity (the form of NurValues)."""
    rows = [
        {"case": case, "value": value, "text": f"The nurse {act} in room {case}.", "aligned": aligned}
        for case in range(12)
        for value in [("Justice", "Integrity")[case % 2]]
        for act, aligned in (("asks", 1), ("decides", 0))
    ]
    return table(path / "nurses.csv", *rows)


NURSES = LabelColumns("text", "aligned", value="value", group="case")
NURSES_ALIKE = LabelColumns("text", "label", group="case")


def test_behaviours_and_their_counterparts_become_pairs(tmp_path):
    pairs = load_labelled_pairs(nurses(tmp_path), NURSES, "Justice")
    assert len(pairs) == 6
    assert pairs.counts["other_values"] == 12
    for pair in pairs:
        (_, chosen), (_, rejected) = pair.texts()
        assert chosen.replace("asks", "decides") == rejected
        assert pair.objective == "Justice"


def test_answers_to_one_prompt_are_in_one_split(tmp_path):
    """Texts that fit and texts that do not are paired in the order of the file, across prompts."""
    rows = [{"q": f"Q{i % 30}", "text": f"t{i}", "label": "10"[i // 7 % 2]} for i in range(300)]
    columns = LabelColumns("text", "label", prompt="q")
    pairs = load_labelled_pairs(table(tmp_path / "q.csv", *rows), columns, "Care", shares=(0.4, 0.3, 0.3))
    homes = {}
    for pair in pairs:
        for prompt, _ in pair.texts():
            homes.setdefault(prompt, set()).add(pair.split)
    assert len(homes) == 30
    assert all(len(splits) == 1 for splits in homes.values())


def test_texts_of_a_source_with_splits_stay_there():
    rows = [{"case": i // 2, "text": f"t{i}", "label": i % 2} for i in range(40)]
    # A group that is in two splits of the source is two groups.
    source = {"train": rows[:25], "test": rows[25:]}
    for group in ("case", ""):
        pairs = load_labelled_pairs(source, LabelColumns("text", "label", group=group), "Care")
        homes = {text: pair.split for pair in pairs for _, text in pair.texts()}
        assert {text for text, split in homes.items() if split == "test"} <= {r["text"] for r in rows[25:]}
        assert {text for text, split in homes.items() if split == "train"} <= {r["text"] for r in rows[:25]}
        assert set(homes.values()) == {"train", "test"}
    with pytest.raises(pl.InputError, match=r":2.*is empty|row 2.*is empty"):
        load_labelled_pairs({"train": rows, "test": [rows[0], {**rows[1], "text": ""}]}, NURSES_ALIKE)


def test_situations_that_support_a_value_become_pairs(tmp_path):
    """Situations with values and their valence (the form of ValuePrism)."""
    path = table(
        tmp_path / "prism.csv",
        {"situation": "Sharing bread", "vrd": "Value", "text": "Care", "label": "Supports"},
        {"situation": "Reading", "vrd": "Value", "text": "Care", "label": "Either"},
        {"situation": "Taking bread", "vrd": "Value", "text": "Care", "label": "Opposes"},
        {"situation": "Taking all", "vrd": "Value", "text": "Care", "label": "opposes"},
        {"situation": "Sharing bread", "vrd": "Value", "text": "Thrift", "label": "Opposes"},
    )
    columns = LabelColumns("situation", "label", ("Supports",), ("Opposes",), value="text")
    (pair,) = found = load_labelled_pairs(path, columns, "Care")
    assert [text for _, text in pair.texts()] == ["Sharing bread", "Taking bread"]
    assert (found.counts["surplus"], found.counts["other_labels"], found.counts["other_values"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("columns", "objective", "message"),
    [
        (NURSES, "", "field 'value'.*several values.*Justice, Integrity"),
        (NURSES, "Care", "field 'aligned'.*no row of 'Care'"),
        (LabelColumns("texts", "aligned"), "", "nurses.csv:1, field 'texts': is missing"),
        (LabelColumns("text", "aligned", ("9",), ("8",)), "", "labels 9, 8; found 1, 0"),
        (LabelColumns("text", "aligned", ("1",), ("1", "0")), "", "good and bad"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, columns, objective, message):
    with pytest.raises(pl.InputError, match=message):
        load_labelled_pairs(nurses(tmp_path), columns, objective)


def cases(order=("care", "fairness", "thrift"), repeats=12):
    """Cases of conflict with the score for each pole (the form of Agent-ValueBench)."""
    found = []
    for number in range(repeats):
        for one, other in ((0, 1), (1, 2), (0, 2)):
            items = [{"score": 2, "weight": 3}, {"score": 0}] if number % 6 else [{"score": 0}, {"score": 1}]
            found.append({"value_a": order[one], "value_b": order[other], "score_a": items, "score_b": 0.3})
    return found


SIDES = ["value_a=score_a", "value_b=score_b"]


def test_conflicts_order_values():
    choices = load_contests(cases(), SIDES)
    posterior = pl.infer_weights(choices, scales=dict.fromkeys(choices[0].question.objectives, 1.0))
    weights = posterior.mean
    assert weights["care"] > weights["fairness"] > weights["thrift"]
    # Adherence (3 x 2 + 0) / (2 x 4) is 0.75; equal scores count half for either.
    assert [one.answer for one in choices[:6]] == [1, 1, 1, 0, 0, 0]
    halves = load_contests([{"value_a": "x", "value_b": "y", "score_a": 1, "score_b": 1.0}], SIDES)
    assert [(one.answer, one.weight) for one in halves] == [(0, 0.5), (1, 0.5)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score_a": "high"}, "field 'score_a'.*number"),
        ({"score_a": [{"score": 3}]}, "field 'score_a'.*from 0 to 2"),
        ({"score_a": []}, "field 'score_a'.*no items"),
        ({"value_b": "fairness"}, "field 'value_b'.*both values are 'fairness'"),
        ({"value_b": ""}, "field 'value_b'.*is empty"),
        ({"value_a": "p", "value_b": "q"}, "no cases connect .* with "),
    ],
)
def test_wrong_conflicts_are_refused(change, message):
    rows = cases()
    rows[4] |= change
    with pytest.raises(pl.InputError, match=message):
        load_contests(rows, SIDES)
    with pytest.raises(pl.InputError, match="NAMES=SCORES twice"):
        load_contests(rows, SIDES[:1])


def lengths(decisions):
    return [
        tuple({"words": len(text.split()), "letters": len(text)} for text in one.options) for one in decisions
    ]


SURVEY = TextColumns("answer", person="country,sex", prompt="question", options="options")


def survey(options='["Very", "Not at all"]', answer="Very"):
    """Facts about a person, a question, options and an answer (the form of DVMap's survey rows)."""
    return [
        {"country": "A", "sex": "f", "question": "Is work important?", "options": options, "answer": answer}
    ]


@pytest.mark.parametrize(
    ("options", "answer", "place"),
    [
        ('["Very", "Not at all"]', "Not at all", 1),
        ("Very|Not at all", "2", 1),
        ("Very\nNot at all", "a", 0),
        (["Very", "Not at all"], "Very", 0),
        # Texts come before numbers.
        ("2|1", "1", 1),
        ("b|a", "A", 1),
        # Options with numbers or letters of their own.
        ("0: never|1: rarely|2: often", "2", 2),
        ("(b) no|(a) yes", "A", 1),
        ("2 - no|1 - yes", "B", 1),
        ("10:30|11:00", "2", 1),
        ("A dog|A cat", "B", 1),
    ],
)
def test_a_survey_becomes_choices(options, answer, place):
    (choice,) = load_text_choices(survey(options, answer), SURVEY, lengths)
    assert (choice.by, choice.answer) == ("A, f", place)
    assert choice.question.decision.prompt == "Is work important?"
    assert dict(choice.question.values[0]) == dict(lengths([choice.question.decision])[0][0])


@pytest.mark.parametrize(
    ("options", "answer", "message"),
    [
        ("Very", "Very", "field 'options'.*two different options"),
        ("Very|Very", "Very", "field 'options'.*two different options"),
        ("Very|Not", "Perhaps", "field 'answer'.*its number from 1 or its letter, found 'Perhaps'"),
        ("Very|Not", "3", "field 'answer'"),
        # No place, where options have numbers or letters of their own.
        ("0|1|2", "3", "field 'answer'"),
        ("-2.5|2.5", "1", "field 'answer'"),
        ("A|C", "B", "field 'answer'"),
        ("0 = never|1 = often|8 = ", "3", "field 'answer'"),
        ("1. yes|1. no", "1", "field 'answer'"),
    ],
)
def test_wrong_surveys_are_refused(options, answer, message):
    with pytest.raises(pl.InputError, match=message):
        load_text_choices(survey(options, answer), SURVEY, lengths)


def test_rated_answers_become_pairs():
    """Several answers to one message with a score each (the form of PRISM)."""
    rows = [
        {"user": "u1", "turn": turn, "ask": f"Hello {turn}", "answer": text, "score": score}
        for turn, scores in ((1, (90, 40, 40)), (2, (10, 20, 30)))
        for text, score in zip(("one", "two words", "three words here"), scores, strict=True)
    ]
    columns = TextColumns(rating="score", person="user", question="turn", option="answer", prompt="ask")
    found = load_text_choices(rows, columns, lengths)
    assert [one.answer for one in found] == [0, 0, "same", 1, 1, 1]
    assert sum(one.weight for one in found) == pytest.approx(4)
    assert {one.by for one in found} == {"u1"}
    # Without equal ratings, questions stay rankings.
    (ranking,) = load_text_choices(rows[3:], columns, lengths)
    assert ranking.answer == (2, 1, 0)
    rows[1]["ask"] = "Something else"
    with pytest.raises(pl.InputError, match=r"field 'ask'.*differs from the prompt"):
        load_text_choices(rows, columns, lengths)


def test_pairs_of_ratings_recover_weights():
    random = np.random.default_rng(0)
    rows = []
    for question in range(60):
        for values in random.normal(size=(4, 2)):
            rating = round(3 + 2 * (0.8 * values[0] + 0.2 * values[1]) + 0.3 * random.gumbel())
            rows.append({"task": question, "a": values[0], "b": values[1], "stars": rating})
    choices = pl.load_choices(rows, values=["a=a", "b=b"], question="task", rating="stars")
    assert any(one.answer == "same" for one in choices)
    low, high = pl.infer_weights(choices).interval("a")
    assert low < 0.8 < high
    assert high - low < 0.15


def test_json_rows_are_read_as_they_are(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in cases()), encoding="utf-8")
    assert len(load_contests(path, SIDES)) == 36
