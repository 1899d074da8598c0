"""Default weights that were inferred from choices: their intervals, and decisions that they leave open."""

import json
import math
from importlib import import_module

import numpy as np
import pytest

import pluralign as pl
from pluralign.cli import main
from pluralign.core import InputError
from pluralign.data.choices import question_row, save_rows
from pluralign.elicit.saved import load_implied_dial, load_posterior, save_posterior
from pluralign.serve.inferred import StoryVerdicts
from pluralign.serve.story import open_story_player
from pluralign.steer.mixing import mix_log_probs

from .asking import pool
from .conftest import story_player
from .test_story import PLAY

STORY = ("score", "harm_avoidance")


def answers(names, counts):
    """Choices between two objectives: how often each was taken."""
    said = pl.Decision("a or b?", ("a", "b"))
    values = (
        {name: float(name == names[0]) for name in names},
        {name: float(name == names[1]) for name in names},
    )
    question = pl.Question(said, values)
    choices = [pl.Choice(question, place) for place, count in enumerate(counts) for _ in range(count)]
    return pl.infer_weights(choices, names, scales=dict.fromkeys(names, 1.0))


@pytest.fixture(scope="module")
def unsure(tmp_path_factory):
    """Weights of a person who took one as often as the other, from a file."""
    path = tmp_path_factory.mktemp("me") / "weights.json"
    save_posterior(answers(("three", "one", "two"), (2, 2)), path, {})
    return load_posterior(path)


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_weights_from_a_file_are_those_that_it_tells(names, tmp_path):
    inferred = answers(names, (8, 3))
    told = save_posterior(inferred, tmp_path / "weights.json", {})
    found = load_posterior(tmp_path / "weights.json")
    assert dict(found.mean) == pytest.approx(told["weights"], abs=0.002)
    for name in names:
        assert found.interval(name) == pytest.approx(told["intervals"][name], abs=0.02)


def test_requests_without_weights_get_the_mean_and_its_intervals(serve, chat, unsure):
    with serve(inferred=unsure) as server:
        mean = {name: unsure.mean[name] for name in ("one", "two", "three")}
        intervals = {name: list(unsure.interval(name)) for name in mean}
        model, config = server.get("/v1/models").json()["data"][0], server.get("/pluralign/config").json()
        answer = server.post(**chat()).json()
        text = server.post("/v1/completions", model="tiny-random", prompt="a", max_tokens=2).json()
        response = server.post("/v1/responses", model="tiny-random", input="a", max_output_tokens=2).json()
        for found in (model, config, answer, text, response):
            assert found["steering_weights"] == pytest.approx(mean)
            assert found["steering_intervals"] == intervals
        assert answer["choices"][0] == server.post(**chat(steering_weights=mean)).json()["choices"][0]
        stream = server.openai.chat.completions.create(**chat(), stream=True)
        assert all(chunk.steering_intervals == intervals for chunk in stream)
        # A request with weights of its own is answered as before.
        for body in (chat(steering_weights={"one": 1.0}), {**chat(), "model": "tiny-random@one=1"}):
            assert "steering_intervals" not in server.post(**body).json()
        assert "steering_intervals" not in server.get("/v1/models/tiny-random@one=1").json()


def test_without_inferred_weights_nothing_is_said(serve, chat, story_table):
    with serve(story=story_table) as server:
        assert "steering_intervals" not in server.post(**chat()).json()
        assert "steering_intervals" not in server.get("/v1/models/tiny-random").json()
        assert server.get("/pluralign/config").json()["steering_intervals"] is None
        assert not {"decided", "steering_intervals"} & set(server.post(PLAY, actions=[]).json())


def test_decisions_of_a_story_say_whether_weights_decide(serve):
    """Policies 8 : 1 and 1 : 8: the weights decide where all credible ones are on one side of a half."""
    for counts, decided in (((0, 0), False), ((3, 3), False), ((40, 0), True)):
        inferred = answers(STORY, counts)
        low, high = inferred.interval("score")
        assert (low > 0.5) == decided
        with serve(story=story_player(inferred), inferred=inferred) as server:
            found = server.post(PLAY, actions=[]).json()
            assert found["decided"] == decided
            last = len(found["options"]) - 1
            assert found["undominated"] == ([0] if decided else [0, last])
            assert found["steering_weights"] == pytest.approx(dict(inferred.mean))
            assert found["steering_intervals"]["score"] == pytest.approx([low, high])
            described = server.get("/pluralign/story").json()
            assert described["steering_intervals"] == found["steering_intervals"]
            own = server.post(PLAY, actions=[], steering_weights=found["steering_weights"]).json()
            assert not {"decided", "undominated", "steering_intervals"} & set(own)
            assert own["mixed"] == found["mixed"]
            # The chat has other objectives, and its uniform weights.
            assert server.get("/pluralign/config").json()["steering_intervals"] is None


def test_verdicts_do_not_depend_on_the_scales_of_the_questions():
    rows = {"score": np.array([0.7, 0.2, 0.1]), "harm_avoidance": np.array([0.1, 0.2, 0.7])}
    said = pl.Decision("x", ("a", "b", "c"))
    inferred = answers(STORY, (40, 0))
    object.__setattr__(inferred, "scales", {"score": 1e6, "harm_avoidance": 1e-6})
    assert StoryVerdicts(inferred, 0.0).of(said, rows) == {"decided": True, "undominated": [0]}


@pytest.mark.parametrize("power", [0.0, 1.0, -1.0, 10.0])
def test_verdicts_are_those_of_the_mixture(power):
    """Under every credible weighting alone, the mixture's likeliest option is undominated."""
    random = np.random.default_rng(5)
    inferred = answers(STORY, (3, 1))
    said = pl.Decision("x", ("a", "b", "c", "d"))
    for _ in range(20):
        rows = {name: random.dirichlet(np.ones(4)) for name in STORY}
        verdict = StoryVerdicts(inferred, power).of(said, rows)
        for share in np.linspace(*inferred.interval("score"), 5):
            logs = np.log(np.stack([rows[name] for name in STORY]))
            mixed = mix_log_probs(logs, [share, 1 - share], power)
            assert int(mixed.argmax()) in verdict["undominated"]
    zero = {name: np.array([1.0, 0.0, 0.0, 0.0]) for name in STORY}
    assert StoryVerdicts(inferred, power).of(said, zero)["undominated"] == [0]
    assert StoryVerdicts(inferred, power).of(pl.Decision("x", ("a",)), {})["decided"] is True


def test_inferred_weights_are_for_what_is_served(serve, unsure):
    with pytest.raises(InputError, match="is for a, b; served are policies: one, two, three") as found:
        serve(inferred=answers(("a", "b"), (1, 1)))
    assert found.value.field == "default_weights"
    with pytest.raises(InputError, match="together with other default weights"):
        serve(inferred=unsure, weights=pl.SteeringWeights(one=1.0))
    with pytest.raises(InputError, match="served are story: score, harm_avoidance"):
        story_player(unsure)
    with pytest.raises(InputError, match="from -10 to 10 with inferred weights") as found:
        story_player(answers(STORY, (1, 1)), math.inf)
    assert found.value.field == "power"


def test_the_verb_reads_weights_and_questions(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PLURALIGN_TOKEN", raising=False)
    services = []
    monkeypatch.setattr(
        import_module("pluralign.serve.run"), "run_server", lambda service, *rest: services.append(service)
    )
    questions = save_rows(tmp_path / "pool.jsonl", map(question_row, pool(("one", "two"))))
    weights = tmp_path / "weights.json"
    save_posterior(answers(("one", "two"), (5, 1)), weights, {})
    policies = [f"{name}={folders[name]}" for name in ("one", "two")]

    def run(*more, policies=policies):
        given = ["serve", "--model", "tiny-random", "--port", 0, "--policies", *policies, *more]
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, given)))
        said = capsys.readouterr()
        return ended.value.code, (said.err or said.out).splitlines()

    code, lines = run("--default-weights", weights, "--ask", questions, "--ask-questions", 3)
    assert code == 0
    assert lines[1].startswith("default weights, inferred from 6 answers: one 0.7")
    assert len(lines) == 3
    (service,) = services
    assert service.parser.mixes.default["one"] == load_posterior(weights).mean["one"]
    assert service.asker.describe()["questions"] == 3
    # Weights of rewards are not those of a mixture.
    scaled = json.loads(weights.read_text()) | {"scales": {"one": 2.0, "two": 1.0}}
    weights.write_text(json.dumps(scaled))
    assert any(
        "only approximately those of a mixture" in line for line in run("--default-weights", weights)[1]
    )
    alone = policies[:1]
    for more, message in (
        (("--ask", questions), "'ask': is for one, two; served are policies: one"),
        (("--default-weights", weights), "'default_weights': is for one, two; served are policies: one"),
        (("--default-weights", questions), "pool.jsonl"),
        (("--ask", tmp_path / "none.jsonl"), "none.jsonl"),
    ):
        code, (line,) = run(*more, policies=alone)
        assert code == 2
        assert message in line
    code, (line,) = run("--default-weights", weights, "--weights", "one=1")
    assert (code, "together with --weights" in line) == (2, True)


def test_a_file_without_a_dial_offers_none(tmp_path):
    path, dial = tmp_path / "weights.json", {"score": 0.8, "harm_avoidance": 0.2}
    save_posterior(answers(STORY, (5, 1)), path, {"dial": dial})
    assert dict(load_implied_dial(path)) == dial
    with pytest.raises(InputError, match="the story's policies are score, power") as found:
        open_story_player("salt_ledger", {"score": "random", "power": "random"}, implied_dial=path)
    assert found.value.field == "implied_dial"
    for wrong, message in ((None, "has no dial; `pluralign ask"), ({"score": 0.5}, "must sum to 1")):
        save_posterior(answers(STORY, (5, 1)), path, {"dial": wrong})
        with pytest.raises(InputError, match=message) as found:
            load_implied_dial(path)
        assert found.value.path == str(path)


@pytest.mark.parametrize(
    "part",
    [
        {"scales": {"one": "x", "two": 1.0}},
        {"scales": {"one": 0.0, "two": 1.0}},
        {"scales": {"one": 1.0}},
        {"draws": [[1.0, 2.0], [1.0, -2.0]]},
        {"draws": [[1.0, 2.0], [1.0, 1e999]]},
        {"draws": [[1.0], [2.0]]},
        {"draws": [["a", 1.0], [1.0, 1.0]]},
        {"draws": 1},
        {"lapse": "x"},
        {"lapse": 1.0},
        {"answers": "six"},
    ],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, part):
    path = tmp_path / "weights.json"
    save_posterior(answers(("one", "two"), (5, 1)), path, {})
    path.write_text(json.dumps(json.loads(path.read_text()) | part))
    with pytest.raises(InputError, match="expected") as found:
        load_posterior(path)
    assert found.value.path == str(path)
