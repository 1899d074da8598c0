"""``pluralign ask``: people at the terminal, simulated ones, files, interruptions."""

import json

import numpy as np
import pytest

import pluralign as pl
from pluralign.annotate.rater import Rating
from pluralign.core import OptionRewards
from pluralign.data.answers import load_answers
from pluralign.data.choices import choice_row, load_questions, question_row, save_rows
from pluralign.data.text_choices import TextColumns, load_text_choices
from pluralign.elicit.interview import Interview
from pluralign.rewards.reward import Reward
from pluralign.workflows.ask import hold_interview, open_answerer, pool_of_completions, values_by_rewards


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    random = np.random.default_rng(3)
    questions = [
        pl.Question(
            pl.Decision(f"Prompt {number}", ("one answer", "another answer")),
            tuple({"kind": float(own[0]), "short": float(own[1])} for own in random.normal(size=(2, 2))),
            may_tie=True,
        )
        for number in range(60)
    ]
    return save_rows(tmp_path_factory.mktemp("pool") / "pool.jsonl", map(question_row, questions))


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_simulated_person_is_understood(run, pool, tmp_path, capsys):
    out = tmp_path / "me"
    by = "simulated:kind=0.9,short=0.1@12"
    assert run("ask", "--pool", pool, "--by", by, "--questions", 10, "--out", out) == 0
    found = json.loads((out / "weights.json").read_text())
    assert found["weights"]["kind"] > 0.7
    assert found["intervals"]["kind"][0] < 0.9 < found["intervals"]["kind"][1] + 0.1
    assert 3 <= found["answers"] <= 10
    assert len(rows(out / "choices.jsonl")) == found["answers"]
    assert load_questions(out / "pool.jsonl") == load_questions(pool)
    assert "kind" in capsys.readouterr().out
    # The same answers from the file give the same weights.
    again = tmp_path / "again"
    assert run("ask", "--pool", pool, "--by", f"file:{out / 'choices.jsonl'}", "--questions", 10,
               "--out", again) == 0  # fmt: skip
    assert json.loads((again / "weights.json").read_text())["weights"] == found["weights"]


def test_a_person_at_the_terminal(run, pool, tmp_path, monkeypatch, capsys):
    told = iter(["1", "yes", "s", "", "2", "q"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(told))
    out = tmp_path / "me"
    assert run("ask", "--pool", pool, "--out", out) == 0
    assert [row["answer"] for row in rows(out / "choices.jsonl")] == [0, "same", 1]
    printed = capsys.readouterr().out
    assert "expected 1 or 2, s (about the same)" in printed
    assert "the same command continues" in printed
    assert printed.count("(0.") >= 6

    def ends(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", ends)
    assert run("ask", "--pool", pool, "--out", out) == 0
    assert len(rows(out / "choices.jsonl")) == 3


def test_a_killed_interview_continues_with_the_same_question(pool, tmp_path):
    questions = load_questions(pool)

    def held(kept, stop):
        asked = []

        def answer(question):
            asked.append(question.decision.key)
            if len(asked) == stop:
                raise KeyboardInterrupt
            return simulated(question)

        interview = Interview(questions, questions=6, least_information=0.0)
        simulated = open_answerer("simulated:kind=0.6,short=0.4@3", interview, None)
        choices, _ = hold_interview(interview, answer, kept)
        return choices, asked

    whole, asked = held(tmp_path / "whole.jsonl", 0)
    with pytest.raises(KeyboardInterrupt):
        held(tmp_path / "killed.jsonl", 4)
    rest, following = held(tmp_path / "killed.jsonl", 0)
    assert rest == whole
    assert following == asked[3:]


@pytest.mark.parametrize("whole_lines", [2, 0])
def test_an_interview_killed_while_it_wrote_a_line_ends_with_the_same_file(pool, tmp_path, whole_lines):
    def held(kept):
        interview = Interview(load_questions(pool), questions=5, least_information=0.0)
        return hold_interview(
            interview, open_answerer("simulated:kind=0.6,short=0.4@3", interview, None), kept
        )

    held(tmp_path / "whole.jsonl")
    expected = (tmp_path / "whole.jsonl").read_bytes()
    killed = tmp_path / "killed.jsonl"
    lines = expected.splitlines(keepends=True)
    # Within the next line, and before its line break.
    for end in (1, 20, len(lines[whole_lines]) - 1):
        killed.write_bytes(b"".join(lines[:whole_lines]) + lines[whole_lines][:end])
        held(killed)
        assert killed.read_bytes() == expected


def test_a_file_of_something_else_is_not_cut(pool, tmp_path):
    other = tmp_path / "choices.jsonl"
    other.write_text("one line of notes")
    with pytest.raises(pl.InputError, match="is not a file of choices"):
        hold_interview(Interview(load_questions(pool), questions=5), lambda question: 0, other)
    assert other.read_text() == "one line of notes"


class Length(Reward):
    """Reward by the number of characters."""

    def __init__(self, sign):
        self.name, self.sign = f"length{sign}", sign

    @property
    def counts(self):
        return {"completions": 0, "truncated": 0}

    def render(self, messages, opens):
        return "".join(message["content"] for message in messages)

    def score_decisions(self, decisions):
        lengths = [np.array([float(len(text)) for text in one.options]) for one in decisions]
        return [OptionRewards(self.sign * own, np.zeros(len(own))) for own in lengths]


def test_a_judge_that_refuses_skips_a_question(pool, tmp_path, monkeypatch):
    class Judge:
        def rate(self, comparisons, objective):
            odd = comparisons[0].first.steps[0].decision.prompt[-1] in "13579"
            info = {"answers": ["tie", "tie"], "unanswered": [True, True]} if odd else {}
            return [Rating("tie", info)]

    monkeypatch.setattr("pluralign.annotate.open.open_rater", lambda spec: Judge())
    interview = Interview(load_questions(pool), 6)
    choices, _ = hold_interview(interview, open_answerer("judge:x", interview, None), tmp_path / "kept.jsonl")
    assert {one.answer for one in choices} == {"same"}
    assert not any(one.question.decision.prompt[-1] in "13579" for one in choices)


def test_completions_become_questions(tmp_path):
    texts = [" a", " bcd", " efghij", " a"]
    rows = [{"prompt": p, "completion": text} for p in ("Say:", "Tell:") for text in texts]
    kept = tmp_path / "rewards.jsonl"
    found = pool_of_completions(load_answers(rows), {"long": Length(1), "short": Length(-1)}, kept)
    # Two of the four samples are equal.
    assert len(found) == 6
    assert found[0].values == ({"long": 2.0, "short": -2.0}, {"long": 4.0, "short": -4.0})
    assert found[0].may_tie
    assert found[0].cost > 1
    alone = load_answers([{"prompt": "Say:", "completion": " a"}])
    with pytest.raises(pl.InputError, match="two different completions"):
        pool_of_completions(alone, {"long": Length(1), "short": Length(-1)}, tmp_path / "r.jsonl")


def test_texts_of_surveys_have_rewards_as_values(tmp_path):
    rows = [
        {"ask": "Say:", "scale": "a|bcd", "answer": answer, "who": who}
        for who, answer in (("x", "bcd"), ("y", "A"))
    ]
    columns = TextColumns("answer", person="who", prompt="ask", options="scale")
    values = values_by_rewards({"long": Length(1), "short": Length(-1)}, tmp_path / "rewards.jsonl")
    first, second = load_text_choices(rows, columns, values)
    assert (first.answer, second.answer, second.by) == (1, 0, "y")
    assert first.question.values == ({"long": 1.0, "short": -1.0}, {"long": 3.0, "short": -3.0})


def test_a_story_of_uniform_policies_leaves_nothing_to_ask(run, tmp_path, capsys):
    out = tmp_path / "me"
    policies = ["score=random", "harm_avoidance=random"]
    assert run("ask", "--story", "salt_ledger", "--policies", *policies, "--out", out) == 0
    assert "no question is left" in capsys.readouterr().out


def test_what_cannot_be_asked_is_refused(run, refuses, pool, tmp_path):
    out = ["--out", tmp_path / "out"]
    assert "a pool, completions or a story" in refuses("ask", *out)
    assert "requires --story" in refuses("ask", "--pool", pool, "--policies", "a=b", *out)
    assert "found 'someone'" in refuses("ask", "--pool", pool, "--by", "someone", *out)
    assert "unknown objective 'fun'" in refuses("ask", "--pool", pool, "--by", "simulated:fun=1", *out)
    assert "after @" in refuses("ask", "--pool", pool, "--by", "simulated:kind=1@x", *out)
    known = load_questions(pool)[:2]
    for who, message in (
        (("ann", "bob"), "has answers of 2 people"),
        (("", ""), ":2: is another answer to"),
    ):
        said = [pl.Choice(known[0], 0, who[0]), pl.Choice(known[0], 1, who[1])]
        file = save_rows(tmp_path / "said.jsonl", map(choice_row, said))
        assert message in refuses("ask", "--pool", pool, "--by", f"file:{file}", *out)
    one = pl.Question(pl.Decision("?", ("a", "b")), ({"kind": 1.0}, {"kind": 0.0}))
    alone = save_rows(tmp_path / "alone.jsonl", [question_row(one)])
    assert "two objectives" in refuses("ask", "--pool", alone, *out)
    twice = save_rows(tmp_path / "twice.jsonl", map(question_row, [*load_questions(pool)[:3]] * 2))
    assert "in the pool twice" in refuses("ask", "--pool", twice, *out)
    # Answers to other questions are not overwritten.
    other = pl.Question(one.decision, tuple({**own, "short": 1.0} for own in one.values))
    kept = save_rows(tmp_path / "out" / "choices.jsonl", [choice_row(pl.Choice(other, 0))])
    before = kept.read_bytes()
    assert "not in the pool" in refuses("ask", "--pool", pool, "--by", "simulated:kind=1", *out)
    assert kept.read_bytes() == before
