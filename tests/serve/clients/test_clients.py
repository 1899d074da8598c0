"""Clients by others against the real server; those that are not installed are skipped (group ``clients``)."""

import json

import pytest

MIX = {"one": 0.7, "two": 0.3, "three": 0.0}
MODEL = "tiny-random@one=0.7,two=0.3"
SCHEMA = {
    "title": "Mood", "type": "object", "properties": {"mood": {"enum": ["good", "bad"]}},
    "required": ["mood"], "additionalProperties": False,
}  # fmt: skip
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there"}]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def expected(server):
    """The greedy answer of the mixture, by OpenAI's package."""
    answer = server.openai.chat.completions.create(
        model="tiny-random", messages=MESSAGES, temperature=0, max_tokens=12,
        extra_body={"steering_weights": MIX},
    )  # fmt: skip
    return answer.choices[0].message.content


def test_openai(server, expected):
    asked = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
    assert server.openai.chat.completions.create(**asked).choices[0].message.content == expected
    stream = server.openai.chat.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected
    assert server.openai.models.retrieve(MODEL).id == MODEL


def test_litellm(server, expected, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    address = {"api_base": f"{server.url}/v1", "api_key": "none"}
    asked = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12, **address}
    for model, body in ((MODEL, {}), ("tiny-random", {"steering_weights": MIX})):
        answer = litellm.completion(f"openai/{model}", **asked, extra_body=body)
        assert answer.choices[0].message.content == expected
        assert answer.usage.completion_tokens == 12
    chunks = litellm.completion(f"openai/{MODEL}", **asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(f"openai/{MODEL}", [{"role": "user", "content": "x" * 5000}], **address)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion("openai/other", MESSAGES, **address)


def test_langchain(server, expected):
    openai = pytest.importorskip("langchain_openai")
    chat = openai.ChatOpenAI(
        model=MODEL, base_url=f"{server.url}/v1", api_key="none", temperature=0, max_tokens=12, logprobs=True
    )
    messages = [(message["role"], message["content"]) for message in MESSAGES]
    answer = chat.invoke(messages)
    assert answer.content == expected
    assert len(answer.response_metadata["logprobs"]["content"]) == 12
    assert "".join(str(chunk.content) for chunk in chat.stream(messages)) == expected
    writer = chat.model_copy(update={"max_tokens": 100}).with_structured_output(SCHEMA, method="json_schema")
    assert writer.invoke(messages)["mood"] in ("good", "bad")


def test_inspect(server, expected, monkeypatch, tmp_path):
    pytest.importorskip("inspect_ai")
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
    from inspect_ai.scorer import exact

    monkeypatch.setenv("PLURALIGN_API_KEY", "none")
    monkeypatch.setenv("PLURALIGN_BASE_URL", f"{server.url}/v1")
    monkeypatch.chdir(tmp_path)
    model = get_model(f"openai-api/pluralign/{MODEL}", config=GenerateConfig(temperature=0, max_tokens=12))
    asked = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="hello there")]
    samples = [Sample(input=asked, target=target) for target in (expected, "never")]
    (log,) = eval(
        Task(dataset=samples, scorer=exact()), model=model, log_dir=str(tmp_path), display="none",
        score_display=False,
    )  # fmt: skip
    assert log.status == "success"
    assert [sample.output.completion for sample in log.samples] == [expected, expected]


def test_lm_eval(server, folders, tmp_path, monkeypatch):
    """A loglikelihood task of 50 questions: the served model's figures are those of transformers."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager
    from peft import PeftModel

    from pluralign.lm.backbone import load_backbone

    backbone = load_backbone("tiny-random")
    # The server's policy "one" as a whole model, for transformers.
    whole = PeftModel.from_pretrained(backbone.model, str(folders["one"])).merge_and_unload()
    whole.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    rows = [
        {"question": f"{a} + {b} =", "choices": [str(a + b + d) for d in (0, 1, 2, 3)], "label": 0}
        for a in range(5)
        for b in range(10)
    ]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "sums.yaml").write_text(
        "task: sums\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files: {{test: {tmp_path / 'rows.json'}}}\n"
        "output_type: multiple_choice\ntest_split: test\ndoc_to_text: '{{question}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: label\n"
        "metric_list: [{metric: acc}, {metric: acc_norm}]\n"
    )

    def figures(kind, **arguments):
        found = lm_eval.simple_evaluate(
            kind, model_args=arguments, tasks=["sums"], device="cpu", bootstrap_iters=0,
            task_manager=TaskManager(include_path=str(tmp_path)), log_samples=True,
        )  # fmt: skip
        samples = sorted(found["samples"]["sums"], key=lambda sample: sample["doc_id"])
        return found["results"]["sums"], [
            [float(answer[0]) for answer in s["filtered_resps"]] for s in samples
        ]

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    served, own = figures(
        "local-completions", model="tiny-random@one=1", base_url=f"{server.url}/v1/completions",
        tokenizer_backend="huggingface", tokenizer=str(tmp_path / "model"), num_concurrent=8,
        max_retries=1,
    )  # fmt: skip
    known, theirs = figures("hf", pretrained=str(tmp_path / "model"), dtype="float32")
    assert len(own) == 50
    for mine, other in zip(own, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-3)
    assert served["acc,none"] == known["acc,none"]
    assert served["acc_norm,none"] == known["acc_norm,none"]
