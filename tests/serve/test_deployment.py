"""What folders of policies are served as: adapters of one trunk, or whole models, and what is refused."""

import dataclasses
import json

import pytest
import torch
from tiny_heads import write_heads

from pluralign.core import InputError, SteeringWeights
from pluralign.folders.card import CARD, TRUNK, Card, write_folder
from pluralign.folders.tuned import describe_backbone
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.decoding import Decoding
from pluralign.serve.api import RequestParser
from pluralign.serve.app import Service
from pluralign.serve.fronts import read_front, read_fronts
from pluralign.serve.settings import Limits
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.policies import load_policies
from pluralign.steer.requests import Request

from .conftest import adapted, serving

CHAT = [{"role": "user", "content": "hello"}]


def trained(folder, seed, *, template="dialogue", whole=False, policy=True, kind="language_policy"):
    """A policy's folder, as learners write it."""
    backbone = load_backbone("tiny-random", dtype=torch.float32)
    card = Card("dpo", objective=folder.name, backbone=describe_backbone(backbone))
    content = {"name": folder.name, "policy": policy, "template": template}
    model = adapted(seed)
    files = {TRUNK: dict(model.merge_and_unload().state_dict())} if whole else {}
    files.get(TRUNK, {}).pop("lm_head.weight", None)
    write_folder(folder, kind, card, content, files, None if whole else model)
    return folder


def greedy(deployment, **weights):
    ids = deployment.chat_ids(CHAT)
    decoder = MixtureDecoder(deployment.rows, deployment.power)
    return decoder.generate([Request(ids, SteeringWeights(weights), Decoding(12, 0.0))])[0]


def test_trained_adapters_share_one_trunk_and_whole_policies_say_the_same(tmp_path):
    adapters = {name: trained(tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}
    whole = {name: trained(tmp_path / f"w{name}", seed, whole=True) for seed, name in enumerate(("a", "b"))}
    shared = load_policies("tiny-random", adapters, dtype="float32")
    apart = load_policies("tiny-random", whole, dtype="float32")
    mixed = load_policies("tiny-random", {"a": adapters["a"], "b": whole["b"]}, dtype="float32")
    assert (shared.shared, apart.shared, mixed.shared) == (True, False, False)
    assert shared.objectives == ("a", "b")
    texts = [greedy(one, a=0.4, b=0.6) for one in (shared, apart, mixed)]
    assert texts[0] == texts[1] == texts[2]
    assert len({greedy(shared, a=1.0), greedy(shared, b=1.0)}) == 2


def test_the_model_itself_can_be_a_policy(tmp_path, folders):
    from pathlib import Path

    found = load_policies(
        "tiny-random", {"plain": Path("tiny-random"), "one": folders["one"]}, dtype="float32"
    )
    assert found.objectives == ("plain", "one")
    assert found.rows.names == ("one", "plain")
    model = make_tiny_backbone().model
    ids = torch.tensor([found.chat_ids(CHAT)])
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    expected = found.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    assert greedy(found, plain=1.0) == expected


def test_the_template_is_the_policies_own(tmp_path, folders):
    dialogue = load_policies("tiny-random", {"a": trained(tmp_path / "a", 0)}, dtype="float32")
    chat = load_policies("tiny-random", {"a": trained(tmp_path / "b", 0, template="chat")}, dtype="float32")
    plain = load_policies("tiny-random", folders, dtype="float32")
    tokenizer = dialogue.tokenizer
    assert tokenizer.decode(dialogue.chat_ids(CHAT)) == "\n\nHuman: hello\n\nAssistant:"
    assert chat.chat_ids(CHAT) == plain.chat_ids(CHAT)
    assert tokenizer.decode(chat.chat_ids(CHAT)).endswith("<|im_start|>assistant\n")
    given = {"a": tmp_path / "a", "b": tmp_path / "b"}
    with pytest.raises(InputError, match="different templates"):
        load_policies("tiny-random", given)
    assert load_policies("tiny-random", given, template="chat", dtype="float32").template == "chat"
    with pytest.raises(InputError, match="must be one of dialogue, chat, found 'other'"):
        load_policies("tiny-random", given, template="other")


def test_a_dialogues_answer_ends_where_somebody_else_speaks(tmp_path):
    body = {"model": "tiny-random", "messages": CHAT, "stop": "x"}
    dialogue = load_policies("tiny-random", {"a": trained(tmp_path / "a", 0)}, dtype="float32")
    (request,) = RequestParser(dialogue, Limits()).parse("chat", body).samples
    assert request.decoding.stop == ("x", "\n\nHuman:", "\n\nAssistant:", "\n\nSystem:", "\n\nTool:")
    chat = dataclasses.replace(dialogue, template="chat")
    (request,) = RequestParser(chat, Limits()).parse("chat", body).samples
    assert request.decoding.stop == ("x",)
    given = {"model": "tiny-random", "prompt": "a"}
    (request,) = RequestParser(dialogue, Limits()).parse("completions", given).samples
    assert request.decoding.stop == ()


@pytest.mark.parametrize("field", [{"continue_final_message": True}, {"add_generation_prompt": False}])
def test_a_dialogues_answer_that_is_continued_has_no_lead(tmp_path, field):
    messages = [*CHAT, {"role": "assistant", "content": "well"}]
    dialogue = load_policies("tiny-random", {"a": trained(tmp_path / "a", 0)}, dtype="float32")
    body = {"model": "tiny-random", "messages": messages, **field}
    (request,) = RequestParser(dialogue, Limits()).parse("chat", body).samples
    assert dialogue.tokenizer.decode(request.prompt_ids) == "\n\nHuman: hello\n\nAssistant: well"
    # A space with which the continuation begins is part of the answer.
    assert request.lead == ""
    plain = {"model": "tiny-random", "messages": CHAT}
    (request,) = RequestParser(dialogue, Limits()).parse("chat", plain).samples
    assert request.lead == " "


def test_what_cannot_be_served(tmp_path, folders):
    def message(**policies):
        with pytest.raises(InputError) as found:
            load_policies("tiny-random", policies)
        return str(found.value)

    assert "expected at least one policy" in message()
    assert "no such folder" in message(a=tmp_path / "nowhere")
    trained(tmp_path / "reward", 0, policy=False)
    assert "trains a reward model and no language policy" in message(a=tmp_path / "reward")
    trained(tmp_path / "options", 0, kind="option_policy")
    assert "expected a language policy" in message(a=tmp_path / "options")
    other = trained(tmp_path / "other", 0)
    card = json.loads((other / CARD).read_text())
    card["backbone"]["fingerprint"] = "0" * 32
    (other / CARD).write_text(json.dumps(card))
    assert "another model than 'tiny-random'" in message(a=other)
    damaged = trained(tmp_path / "damaged", 0)
    with (damaged / "adapter" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    assert "damaged" in message(a=damaged, b=folders["one"])
    found = load_policies("tiny-random", folders, dtype="float32")
    with pytest.raises(InputError, match="unknown objective 'x'; known: one, three, two"):
        RequestParser(found, Limits(), SteeringWeights(x=1.0))
    with pytest.raises(InputError, match=r"new_tokens.*must be above 0"):
        Limits(new_tokens=0)


def write(path, **content):
    path.write_text(json.dumps(content))
    return path


POINTS = [{"weights": {"a": i / 2, "b": 1 - i / 2}, "returns": {"a": i, "b": -i}} for i in range(3)]


def test_a_sweeps_points_are_read(tmp_path):
    path = write(
        tmp_path / "r.json", objectives=["a", "b"], sweep=POINTS, exact_front=[{"a": 3, "b": 4}], x=1
    )
    assert read_front(path) == {
        "objectives": ["a", "b"], "points": POINTS, "exact_front": [{"a": 3.0, "b": 4.0}],
        "scale": None,
    }  # fmt: skip
    scale = {"origin": {"a": 1, "b": -1}, "unit": {"a": 0.5, "b": 2}, "margin": 0.1}
    path = write(path, objectives=["a", "b"], sweep=POINTS, scale=scale)
    assert read_front(path)["scale"] == {"origin": {"a": 1.0, "b": -1.0}, "unit": {"a": 0.5, "b": 2.0}}
    renamed = [{"weights": point["weights"], "rewards": point["returns"]} for point in POINTS]
    assert read_front(write(path, points=renamed))["points"] == POINTS


def test_what_is_no_sweep(tmp_path):
    path = tmp_path / "r.json"
    broken = {**POINTS[0], "weights": {"a": 0.5}}
    for content, message in (
        ({}, "'points': is missing"),
        ({"sweep": POINTS[:1]}, "at least two points"),
        ({"sweep": [1, 2]}, "expected a JSON object"),
        ({"sweep": [broken, broken]}, "must sum to 1"),
        ({"sweep": POINTS, "objectives": ["a"]}, "expected at least two"),
        ({"sweep": POINTS, "objectives": ["a", "c"]}, "a point lacks 'c'"),
        ({"sweep": POINTS, "scale": {"origin": {"a": 1}, "unit": {"a": 1, "b": 1}}}, "'scale': lacks 'b'"),
        ({"sweep": POINTS, "scale": {"origin": {}, "unit": 1}}, "expected numbers by objective"),
        ({"sweep": POINTS, "scale": {k: {"a": 0, "b": 0} for k in ("origin", "unit")}}, "positive units"),
        ({"sweep": POINTS, "exact_front": [{"a": "x"}]}, "expected numbers by objective"),
        ({"sweep": POINTS, "exact_front": [{"a": 1, "b": float("nan")}]}, "expected numbers by objective"),
    ):
        with pytest.raises(InputError, match=message) as found:
            read_front(write(path, **content))
        assert str(path) in str(found.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_front(tmp_path / "nowhere")


def test_a_second_sweep_of_the_same_objectives_is_refused(tmp_path):
    paths = [write(tmp_path / name, sweep=POINTS) for name in ("first.json", "second.json")]
    assert list(read_fronts(paths[:1], ["a", "b"])) == ["chat"]
    with pytest.raises(InputError, match="is a second sweep of the objectives of the chat"):
        read_fronts(paths, ["a", "b"])


def test_heads_are_served_each_alone_and_mixed(tmp_path, chat):
    heads = write_heads(tmp_path / "heads", ("kind", "brief"))
    alone = {name: load_policies("tiny-random", {name: heads}, dtype="float32") for name in ("kind", "brief")}
    mixed = load_policies("tiny-random", heads, dtype="float32")
    expected = [greedy(policies, **{name: 1.0}) for name, policies in alone.items()]
    expected.append(greedy(mixed, kind=0.5, brief=0.5))
    with serving(Service(load_policies("tiny-random", heads, dtype="float32"), Limits())) as server:
        found: list[str] = []
        for weights in ({"kind": 1.0, "brief": 0.0}, {"brief": 1.0}, {"kind": 0.5, "brief": 0.5}):
            body = {**chat("hello", steering_weights=weights), "max_tokens": 12}
            answer = server.session.post(f"{server.url}/v1/chat/completions", json=body).json()
            found.append(answer["choices"][0]["message"]["content"])
    assert found == [text.removeprefix(" ") for text in expected]
    assert len(set(found)) == 3
