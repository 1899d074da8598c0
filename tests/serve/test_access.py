"""Named tokens, accepted Host headers, and origins of web pages."""

import pytest

from pluralign.core import InputError
from pluralign.serve.access import accepted_hosts, read_named_tokens, read_origins
from pluralign.serve.audit import Audit
from pluralign.serve.settings import Access, Limits, NamedToken

from .test_records import lines
from .test_refusals import refused
from .test_robust import slow  # noqa: F401


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_named_tokens_have_limits_of_their_own(serve, chat, tmp_path, slow):  # noqa: F811
    path = tmp_path / "audit.jsonl"
    named = (NamedToken("ann", "token-of-ann", 1), NamedToken("bob", "token-of-bob"))
    with serve(Limits(running=1), Access(token="other", named=named), audit=Audit(path)) as server:
        slow(server)
        refused(server.post(**chat()), 401)
        refused(server.post(headers=bearer("wrong"), **chat()), 401)
        stream = server.session.post(
            f"{server.url}/v1/chat/completions", json=chat(max_tokens=1000, stream=True),
            headers=bearer("token-of-ann"), stream=True, timeout=30,
        )  # fmt: skip
        # The iterator closes the connection when it is discarded.
        parts = stream.iter_content(1)
        next(parts)
        busy = server.post(headers=bearer("token-of-ann"), **chat())
        assert refused(busy, 429)["code"] == "token_busy"
        assert int(busy.headers["retry-after"]) >= 1
        stream.close()
        for token in ("token-of-bob", "other"):
            assert server.post(headers=bearer(token), **chat()).status_code == 200
        assert server.get("/v1/models", headers=bearer("token-of-ann")).status_code == 200
        assert server.post(headers=bearer("token-of-ann"), **chat()).status_code == 200
    ends = [one["token"] for one in lines(path) if one["event"] == "end"]
    assert sorted(map(str, ends)) == ["None", "ann", "ann", "bob"]
    assert [one["token"] for one in lines(path) if one.get("status") == 429] == ["ann"]
    assert "token-of" not in path.read_text()


def test_files_of_named_tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who\nann=abc== 4\n\nbob = d=e\n")
    assert read_named_tokens(path) == (NamedToken("ann", "abc==", 4), NamedToken("bob", "d=e"))
    assert read_named_tokens(None) == ()
    for text in ("secret", "ann=", "=secret", "ann=secret x", "ann=secret 0", "ann=secret 1 2", "a=b\na=c",
                 "a=b\nc=b", "", "a=\xe9", "# secret"):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError) as found:
            read_named_tokens(path)
        assert "secret" not in str(found.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_named_tokens(tmp_path / "nowhere")


def test_hosts_of_other_addresses_are_checked_when_named(serve):
    assert accepted_hosts("0.0.0.0") is None
    assert accepted_hosts("127.0.0.1") == ("localhost", "127.0.0.1", "::1")
    found = accepted_hosts("192.168.0.5", ("LLM.example",))
    assert found == ("localhost", "127.0.0.1", "::1", "192.168.0.5", "llm.example")
    with serve(access=Access(hosts=found)) as server:
        refused(server.get("/v1/models", headers={"Host": "evil.example"}), 421)
        assert server.get("/v1/models", headers={"Host": "llm.example:8000"}).status_code == 200
        # Health checks come under any name.
        assert server.get("/health", headers={"Host": "10.0.0.7:8000"}).status_code == 200


def test_only_listed_origins_may_read_answers(serve, chat):
    access = Access(token="a-token", origins=("https://good.example",))
    allow = "access-control-allow-origin"
    with serve(access=access) as server:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        url = f"{server.url}/v1/chat/completions"
        for origin, status in (("https://good.example", 200), ("https://evil.example", 400)):
            found = server.session.options(url, headers={"Origin": origin, **asks}, timeout=30)
            assert (found.status_code, found.headers.get(allow)) == (
                status,
                origin if status == 200 else None,
            )
            answer = server.post(headers={"Origin": origin, **bearer("a-token")}, **chat())
            assert answer.status_code == 200
            assert answer.headers.get(allow) == (origin if status == 200 else None)
    with serve() as server:
        assert allow not in server.get("/v1/models", headers={"Origin": "https://good.example"}).headers
    for wrong in ("*", "example.org", "https://example.org/", "null"):
        with pytest.raises(InputError, match="origins such as"):
            read_origins([wrong])
