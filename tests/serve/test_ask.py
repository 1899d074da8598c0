"""Questions whose answers determine weights: the server keeps nothing, and limits what it is sent."""

import asyncio
import json
import math

import numpy as np
import pytest

import pluralign as pl
from pluralign.core import InputError
from pluralign.elicit.grounding import questions_by_policies
from pluralign.elicit.interview import Interview
from pluralign.elicit.prior import SimplexPrior
from pluralign.serve.ask import Asker
from pluralign.serve.audit import Audit
from pluralign.serve.errors import Refused

from .asking import NAMES, asker, interview, pool, prefers
from .conftest import TwoOptions
from .test_records import lines
from .test_refusals import refused

ASK = "/pluralign/ask"


@pytest.fixture(scope="module")
def table(folders):
    from pluralign.serve.service import Service
    from pluralign.serve.settings import Limits
    from pluralign.steer.policies import load_policies

    from .conftest import serving

    deployment = load_policies("tiny-random", folders, dtype="float32")
    with serving(Service(deployment, Limits(), asker=asker())) as found:
        yield found


def test_five_answers_find_what_a_person_cares_for(table):
    answers, replies = interview(table, prefers("two"))
    assert len(answers) == 5
    first, last = replies[0], replies[-1]
    assert (first["end"], last["end"], last["question"], last["information"]) == (None, "number", None, None)
    assert set(first["question"]) == {"key", "prompt", "options", "may_tie"}
    assert first["answers"] == 0
    assert last["answers"] == 5
    assert last["weights"]["two"] > 0.6
    assert math.isclose(sum(last["weights"].values()), 1)
    assert last["regret"] < first["regret"]
    for name in NAMES:
        (low, high), (before, after) = last["intervals"][name], first["intervals"][name]
        assert 0 <= low < last["weights"][name] < high <= 1
        assert high - low < after - before


def test_replies_are_those_of_an_interview(table):
    answers, replies = interview(table, prefers("one"))
    held = Interview(pool(), 5)
    choices = [pl.Choice(held.by_key[one["question"]], one["answer"]) for one in answers]
    for count, reply in enumerate(replies):
        turn = held.turn(choices[:count])
        assert dict(turn.posterior.mean) == pytest.approx(reply["weights"])
        assert list(turn.posterior.interval("two")) == pytest.approx(reply["intervals"]["two"])
        if reply["question"]:
            assert turn.suggestion.question.decision.key == reply["question"]["key"]
    # The server has no memory: the same answers have the same reply, in any order of requests.
    assert table.post(ASK, answers=answers[:2]).json() == replies[2]
    assert table.post(ASK, answers=[]).json() == replies[0]


def test_skipped_questions_are_not_asked(table):
    skipped = []
    for _ in range(len(pool())):
        question = table.post(ASK, answers=[], skipped=skipped).json()["question"]
        assert question["key"] not in skipped
        skipped.append(question["key"])
    last = table.post(ASK, answers=[], skipped=skipped).json()
    assert (last["end"], last["question"]) == ("pool", None)


def test_what_is_refused(table, serve):
    first, second = (question.decision.key for question in pool()[:2])
    one = {"question": first, "answer": 0}
    for body, param, message in (
        ({}, "answers", "'answers' is missing"),
        ({"answers": {}}, "answers", "must be an array of 0 to 100"),
        ({"answers": [one] * 101}, "answers", "must be an array of 0 to 100"),
        ({"answers": [], "skipped": ["a"] * 1001}, "skipped", "must be an array of 0 to 1000"),
        ({"answers": [{"question": first}]}, "answers[0].answer", "is missing"),
        ({"answers": [{**one, "answer": 2}]}, "answers[0].answer", "an integer from 0 to 1"),
        ({"answers": [{**one, "answer": True}]}, "answers[0].answer", "must be"),
        ({"answers": [{**one, "answer": "first"}]}, "answers[0].answer", '"same"'),
        ({"answers": [{**one, "by": "me"}]}, "answers[0].by", "unknown field 'by'"),
        ({"answers": [one, {"question": "x", "answer": 0}]}, "answers[1].question", "is no question of this"),
        ({"answers": [one, one]}, "answers[1].question", "names a question twice"),
        ({"answers": [one], "skipped": [second, first]}, "skipped[1]", "names a question twice"),
        ({"answers": [], "person": "me"}, "person", "unknown field 'person'"),
    ):
        error = refused(table.post(ASK, **body))
        assert error["param"] == param
        assert message in error["message"]
    with serve() as bare:
        assert bare.post(ASK, answers=[]).status_code == 404
        assert bare.get("/pluralign/config").json()["ask"] is None
    with serve(asker=asker(may_tie=False)) as strict:
        error = refused(strict.post(ASK, answers=[{**one, "answer": "same"}]))
        assert "'answers[0].answer' must be 0 to 1" in error["message"]


def test_pools_of_other_objectives_are_refused(serve, story_table):
    with pytest.raises(InputError, match="is for one, two; served are policies: one, two, three") as found:
        serve(asker=asker(("one", "two")))
    assert found.value.field == "ask"
    with serve(story=story_table, asker=asker(("score", "harm_avoidance"))) as server:
        assert server.get("/pluralign/config").json()["ask"]["objectives"] == ["score", "harm_avoidance"]
    with pytest.raises(InputError, match="at least two objectives"):
        Asker([pl.Question(pl.Decision("a", ("b", "c")), ({"one": 1.0}, {"one": 0.0}))])
    with pytest.raises(InputError, match="at most 100"):
        asker(questions=101)
    with pytest.raises(InputError, match="at most 10000 questions"):
        Asker(pool() * 1000)
    with pytest.raises(InputError, match="there are no questions"):
        Asker([])


def test_log_probabilities_keep_their_unit():
    decisions = [pl.Decision(f"{n}", ("a", "b", "c")) for n in range(9)]
    asked = questions_by_policies(decisions, {"one": TwoOptions("a", 0), "two": TwoOptions("b", 1)})
    reply = asyncio.run(Asker(asked).answer({"answers": [{"question": asked[0].decision.key, "answer": 0}]}))
    own = pl.infer_weights(
        [pl.Choice(asked[0], 0)], prior=SimplexPrior(decisiveness=1.0), scales={"one": 1.0, "two": 1.0}
    )
    assert reply["weights"] == pytest.approx(dict(own.mean))
    values = np.array([[one["one"] for one in question.values] for question in asked])
    assert np.exp(values).sum(axis=1) == pytest.approx(1)


def test_requests_beyond_eight_are_sent_away():
    own = asker()

    async def all_at_once():
        return await asyncio.gather(*(own.answer({"answers": []}) for _ in range(9)), return_exceptions=True)

    *answered, last = asyncio.run(all_at_once())
    assert isinstance(last, Refused)
    assert (last.status, last.headers) == (429, {"Retry-After": "1"})
    assert all(reply == answered[0] for reply in answered)


def test_the_audit_counts_and_says_what_was_given_only_with_texts(serve, tmp_path):
    key = pool()[0].decision.key
    body = {"answers": [{"question": key, "answer": 1}], "skipped": [pool()[1].decision.key]}
    for texts in (False, True):
        path = tmp_path / f"{texts}.jsonl"
        with serve(asker=asker(), audit=Audit(path, texts=texts)) as server:
            assert server.post(ASK, **body).status_code == 200
            refused(server.post(ASK, answers=[{"question": "my secret", "answer": 1}]))
        asked, refusal = lines(path)
        assert (asked["event"], asked["answers"], asked["skipped"]) == ("ask", 1, 1)
        assert refusal["event"] == "refused"
        assert asked.get("given") == (body if texts else None)
        assert (key in path.read_text(), "my secret" in path.read_text()) == (texts, texts)


def test_without_its_line_there_is_no_answer_if_the_line_is_required(serve, tmp_path, monkeypatch):
    audit = Audit(tmp_path / "audit.jsonl", required=True)
    with serve(asker=asker(), audit=audit) as server:
        monkeypatch.setattr(audit, "write", lambda *given: (_ for _ in ()).throw(OSError("full")))
        assert server.post(ASK, answers=[]).status_code == 503


def test_the_configuration_names_the_pool(table):
    known = table.get("/pluralign/config").json()["ask"]
    assert (known["objectives"], known["questions"]) == (list(NAMES), 5)
    assert known["pool"] == asker().describe()["pool"] != Asker(pool()[:-1]).describe()["pool"]
    assert json.dumps(table.get("/openapi.json").json()["paths"][ASK])
