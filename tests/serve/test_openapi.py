"""The OpenAPI document is what the server does: schemathesis looks for where it is not."""

import contextlib

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from pluralign.serve.settings import Access, Limits, NamedToken

from .asking import asker

BOUND = (
    "steering_weights", "logit_bias", "tools", "response_format", "chat_template_kwargs", "top_logprobs",
    "continue_final_message", "add_generation_prompt", "max_tokens", "stream_options",
)  # fmt: skip
"""Fields of which a schema cannot say everything."""


def test_the_document_names_every_path_that_is_served(server):
    document = server.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/", "/health", "/metrics", "/v1/models", "/v1/models/{model}", "/v1/chat/completions",
        "/v1/completions", "/v1/responses", "/pluralign/config",
    }  # fmt: skip
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    weights = body["schema"]["properties"]["steering_weights"]
    assert list(weights["properties"]) == ["one", "two", "three"]
    assert weights["additionalProperties"] is False


@pytest.mark.parametrize("access", [Access(token="a"), Access(named=(NamedToken("ann", "a"),)), Access()])
def test_the_document_says_whether_a_token_is_needed(serve, access):
    with serve(access=access) as server:
        document = server.get("/openapi.json").json()
    assert document.get("security") == (None if access == Access() else [{"bearer": []}])


def test_schemathesis_finds_nothing(serve, story_table, rewards):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    once = settings(
        max_examples=12, deadline=None, phases=[Phase.generate], derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    limits = Limits(new_tokens=4, default_new_tokens=3, body_bytes=200_000)
    calls = 0

    def look(case):
        nonlocal calls
        calls += 1
        # That weights sum to 1 is not for a schema to say: what fits it may be refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=30)
        if case.meta.generation.mode.is_positive and case.path.startswith("/v1/") and case.method == "POST":
            # Once more without what must fit the model or another field.
            bare = {name: value for name, value in case.body.items() if name not in BOUND}
            messages = {"messages": [{"role": "user", "content": "a"}]} if "messages" in bare else {}
            case.body = {**bare, "model": "tiny-random", **messages}
            case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=30)

    with serve(limits, story=story_table, rewards=rewards, asker=asker()) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == 13
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                strategy = operation.as_strategy(generation_mode=mode)
                with contextlib.suppress(Unsatisfiable):
                    once(given(strategy)(look))()
        assert calls > 80
        counted = server.metrics()
        assert not [name for name in counted if 'status="5' in name]
        # Both answers and refusals were looked at.
        for path in (
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/pluralign/rewards",
            "/pluralign/story/play",
        ):
            for status in (200, 400):
                assert counted[f'pluralign_requests_total{{path="{path}",status="{status}"}}'] >= 1
