import threading
import time

import numpy as np
import pytest
from collect_fakes import CannedWriter, failed, said, serving

from pluralign.collect.number_chooser import NumberChooser, endpoint_chooser, parse_number
from pluralign.collect.prompt import ChoosePrompt
from pluralign.core import Decision, InputError
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings

DECISION = Decision("You have {3} coins and $5.", ("Give.", "Keep ${all}.", "Throw {0}."))


@pytest.mark.parametrize(
    ("reply", "index"),
    [
        ("2", 1),
        (" 3.\n", 2),
        ("**2**", 1),
        ("2. Keep it", 1),
        ("#1", 0),
        ("Option 3", 2),
        ("Option 3: throw the 2 coins", 2),
        ("I choose 2.", 1),
        ("I would not choose 2.", None),
        ("I\u2019d never take option 3", None),
        ("I don't like any of them. I choose 2.", 1),
        ("I do not want anybody to be hurt, so I choose 2.", 1),
        ("I choose 2, yes 2.", 1),
        ("<think>1 or 3? 3 is bad</think>\n1", 0),
        ("(2)", 1),
        ("02", 1),
        ("", None),
        ("none", None),
        ("0", None),
        ("4", None),
        ("-1", None),
        ("12", None),
        ("1 or 2", None),
        ("1-3", None),
        ("Either 1 or 2", None),
        ("2.5", None),
        ("I'd say 2.5", None),
        ("abc1", None),
        ("9" * 10_000, None),
        ("<think>2</think>", None),
        ("1. Open the door\n2. Sign it", None),
        ("1) Open the door; 2) sign it", None),
        ("2. Sign it\n\nIt costs 1.", 1),
        ("<think>\nOption 2 opens the door, and", None),
    ],
)
def test_parse_number(reply, index):
    assert parse_number(reply, 3) == index


def test_prompt_takes_text_as_it_is(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("{braces} $$1 ${situation}\n$options\n1..$count {")
    assert ChoosePrompt(file).fill(DECISION) == (
        "{braces} $1 You have {3} coins and $5.\n1. Give.\n2. Keep ${all}.\n3. Throw {0}.\n1..3 {"
    )


def test_packaged_prompt():
    text = ChoosePrompt().fill(DECISION)
    assert "You have {3} coins and $5." in text
    assert "\n3. Throw {0}.\n" in text
    assert "from 1 to 3" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$situation", r"mine\.txt: lacks the placeholder \$options"),
        ("$situation $options $mood", r"unknown placeholder \$mood"),
        ("$situation $options costs $ 5", r"lone '\$'"),
    ],
)
def test_prompt_errors(tmp_path, text, message):
    file = tmp_path / "mine.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        ChoosePrompt(file)
    with pytest.raises(InputError, match=r"nowhere.txt: cannot be read"):
        ChoosePrompt(tmp_path / "nowhere.txt")


def test_malformed_replies_are_asked_again_and_kept():
    replies = {1: "Hm.", 3: "7", 5: "2"}
    writer = CannedWriter(lambda chat, seed: replies[len(chat)])
    [choice] = NumberChooser(writer).choose([DECISION], [1])
    assert choice.action == 1
    assert choice.info == {"malformed": ["Hm.", "7"]}
    last = writer.chats[-1]
    assert [m["role"] for m in last] == ["user", "assistant", "user", "assistant", "user"]
    assert "from 1 to 3" in last[-1]["content"]


def test_only_those_malformed_are_asked_again():
    writer = CannedWriter(lambda chat, seed: "1" if "good" in chat[0]["content"] or len(chat) > 1 else "?")
    chooser = NumberChooser(writer)
    choices = chooser.choose([Decision("good", ("a", "b")), Decision("bad", ("a", "b"))], [1, 2])
    assert [dict(c.info) for c in choices] == [{}, {"malformed": ["?"]}]
    assert len(writer.chats) == 3


def test_fall_back_is_uniform_marked_and_seeded():
    chooser = NumberChooser(CannedWriter(lambda chat, seed: "no"), re_asks=2)
    seeds = list(np.random.default_rng(0).integers(2**63, size=3000))
    choices = chooser.choose([DECISION] * 3000, seeds)
    assert all(c.info == {"malformed": ["no"] * 3, "random": True} for c in choices)
    counts = np.bincount([c.action for c in choices], minlength=3)
    # Chi-squared with 2 degrees of freedom: 13.8 is exceeded once in 1,000 seeds.
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8
    assert [c.action for c in chooser.choose([DECISION] * 3000, seeds)] == [c.action for c in choices]


def test_seeds_differ_by_decision_and_attempt():
    seen = []
    NumberChooser(CannedWriter(lambda chat, seed: seen.append(seed) or "no"), re_asks=1).choose(
        [DECISION] * 2, [1, 2]
    )
    assert len(set(seen)) == 4


# --- endpoint -------------------------------------------------------------------------------------


def ask(url, n=1, **settings):
    names = {"concurrency", "timeout", "retries"} & settings.keys()
    requests = {name: settings.pop(name) for name in names}
    endpoint = EndpointSettings((url,), **{"timeout": 30, "retries": 2, **requests})
    chooser = endpoint_chooser("m", endpoint, **settings)
    return chooser.choose([DECISION] * n, list(range(n)))


def test_endpoint_is_asked_as_openai_is():
    with serving(lambda body, n: said("2")) as server:
        [choice] = ask(server.url, temperature=0.3)
    assert choice.action == 1
    [body] = server.requests
    assert body["model"] == "m"
    assert body["temperature"] == 0.3
    assert body["messages"][0]["content"].startswith("You are playing a text game")
    assert 0 <= body["seed"] < 2**31


def test_settings_from_the_environment(monkeypatch):
    with serving(lambda body, n: said("1")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        endpoint = Endpoint("m")
        assert endpoint.urls == [server.url]
        assert endpoint.generate(["hello"], max_new_tokens=4) == ["1"]
        endpoint.close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_errors_are_tried_again(status):
    with serving(lambda body, n: failed(status) if n == 1 else said("3")) as server:
        [choice] = ask(server.url)
    assert choice.action == 2
    assert choice.info == {}
    # The client's first back-off is 0.5 s less up to a quarter of jitter.
    assert server.times[1] - server.times[0] > 0.3


def test_retry_after_is_honoured():
    with serving(lambda body, n: failed(429, Retry_After="1.2") if n == 1 else said("3")) as server:
        ask(server.url)
    assert 1.15 < server.times[1] - server.times[0] < 10


def test_requests_run_side_by_side_up_to_the_bound():
    four = threading.Barrier(4)

    def answers(body, n):
        four.wait(30)
        return said("1")

    with serving(answers) as server:
        assert len(ask(server.url, n=12, concurrency=4, timeout=60)) == 12
    assert server.most_under_way == 4


def test_replies_come_back_in_order():
    def by_length(body, n):
        time.sleep(0.02 * (n % 3))
        return said(body["messages"][0]["content"])

    with serving(by_length) as server:
        texts = [f"text {i}" for i in range(10)]
        assert Endpoint("m", EndpointSettings((server.url,))).generate(texts, max_new_tokens=4) == texts


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (failed(500, "broken inside"), r"http://127\.0\.0\.1.*/v1.*broken inside"),
        (failed(401, "wrong key"), "wrong key"),
        (failed(404, "no such model"), "no such model"),
        ((200, {}, "<html>not json</html>"), "no usable answer"),
    ],
    ids=["500", "401", "404", "html"],
)
def test_an_endpoint_that_cannot_be_used_is_one_line(answer, message):
    with serving(lambda body, n: answer) as server, pytest.raises(InputError, match=message) as caught:
        ask(server.url, retries=1)
    assert "\n" not in str(caught.value)


def test_dead_endpoint():
    with serving(lambda body, n: said("1")) as server:
        url = server.url
    with pytest.raises(
        InputError,
        match=r"no usable answer from the endpoint http://127\.0\.0\.1.*refused",
    ):
        ask(url, retries=1)


def test_slow_endpoint_times_out():
    def slow(body, n):
        time.sleep(1.0)
        return said("1")

    with serving(slow) as server, pytest.raises(InputError, match=r"timed out"):
        ask(server.url, timeout=0.5, retries=1)
    assert len(server.requests) == 2


def test_empty_and_malformed_replies_are_asked_again():
    answers = {1: said(None), 2: said("who knows"), 3: said("2")}
    with serving(lambda body, n: answers[n]) as server:
        [choice] = ask(server.url)
    assert choice.action == 1
    assert choice.info == {"malformed": ["", "who knows"]}


def test_parameters_that_the_server_refuses_are_left_out():
    def strict(body, n):
        for name in ("seed", "max_tokens", "temperature"):
            if name in body:
                return failed(400, f"Unsupported parameter: '{name}'")
        return said("1")

    with serving(strict) as server:
        ask(server.url, n=2, concurrency=1)
    assert server.requests[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert len(server.requests) == 5


def test_http_client_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "httpx2", None)
    with pytest.raises(InputError, match=r"pluralign\[openai\]"):
        Endpoint("m")
