"""Which policies vLLM can mix, and the command that starts it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from adapters import adapted
from safetensors.torch import load_file
from tiny_heads import write_heads

from pluralign.cli import main
from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import dialogue
from pluralign.folders.soups import soup_adapter
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.vllm.adapters import lora_rank, open_adapters
from pluralign.vllm.launch import require_vllm
from pluralign.vllm.soups import SoupResolver
from pluralign.vllm.trunk import dialogue_template, fingerprint_of_files, require_trunk


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    backbone = make_tiny_backbone()
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two")):
        save_adapter(adapted(seed, rank=4 + seed), place / name)
    return {name: place / name for name in ("one", "two")}


def test_adapters_and_the_model_itself_can_be_mixed(model, folders):
    found = open_adapters(str(model), {**folders, "base": model})
    assert found.folders == {"one": str(folders["one"]), "two": str(folders["two"]), "base": None}
    assert found.ranks == {"one": 4, "two": 5}
    assert found.template == "chat"


def test_a_whole_model_is_refused_by_name(model, folders, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    with pytest.raises(InputError, match="policy 'whole' is a whole model; vLLM mixes LoRA adapters"):
        open_adapters(str(model), {**folders, "whole": other})


def test_an_adapter_beyond_plain_lora_is_refused_by_name(model, folders, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folders["one"], other)
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(InputError, match=r"policy 'dora' is more than a plain LoRA adapter.*use_dora"):
        open_adapters(str(model), {**folders, "dora": other})


def test_heads_are_refused_by_name(model, folders, tmp_path, capsys):
    heads = write_heads(tmp_path / "heads", ("kind", "brief"))
    for named in ({"kind": heads}, {**folders, "kind": heads, "brief": heads}):
        with pytest.raises(InputError, match=r"heads.*holds heads, which vLLM does not mix.*--engine own"):
            open_adapters(str(model), named)
    with pytest.raises(SystemExit) as ended:
        main(["vllm", "--model", str(model), "--policies", str(heads)])
    assert ended.value.code == 2
    assert "holds heads, which vLLM does not mix" in capsys.readouterr().err


def test_policies_of_another_model_are_refused(model):
    backbone = load_backbone(str(model), dtype=torch.float32)
    assert fingerprint_of_files(model, backbone.tokenizer, torch.float32) == backbone.fingerprint
    card = {"backbone": {"fingerprint": backbone.fingerprint, "dtype": "float32", "name": "tiny"}}
    require_trunk(str(model), {model: card, model.parent: None})
    other = {"backbone": {**card["backbone"], "fingerprint": "other"}}
    with pytest.raises(InputError, match="was trained on 'tiny', another model than"):
        require_trunk(str(model), {model: other})


def test_ranks_are_vllms():
    assert [lora_rank(rank) for rank in (1, 4, 8, 9, 300, 512)] == [1, 8, 8, 16, 320, 512]
    with pytest.raises(InputError, match="up to 512, found 600"):
        lora_rank(600)


def test_the_command_of_plain_vllm(model, folders, capsys):
    main_ok(
        "vllm", "--model", str(model), "--policies", f"one={folders['one']}", f"base={model}", "--power", "1"
    )
    command = capsys.readouterr().out
    assert command.startswith(f"vllm serve {model} --middleware pluralign.vllm.plugin.SteeringMiddleware ")
    for option in (
        "--scheduler-cls pluralign.vllm.plugin.MixtureScheduler",
        "--worker-cls pluralign.vllm.plugin.MixtureWorker",
        "--logits-processors pluralign.vllm.plugin:MixtureRows pluralign.vllm.plugin:MixtureDraws",
        "--enable-lora --max-loras 1 --max-lora-rank 8",
        '"power": 1.0',
    ):
        assert option in command


def test_the_command_with_soups(model, folders, capsys):
    policies = [f"{name}={folder}" for name, folder in folders.items()]
    main_ok("vllm", "--model", str(model), "--soups", "True", "--policies", *policies)
    command = capsys.readouterr().out
    assert command.startswith("env VLLM_ALLOW_RUNTIME_LORA_UPDATING=True 'PLURALIGN_POLICIES={")
    assert "--max-loras 3 --max-lora-rank 16" in command


def main_ok(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_vllm_is_asked_for_by_its_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(InputError, match=r"vLLM is not installed: pip install 'pluralign\[vllm\]'"):
        require_vllm()


def test_serve_refuses_vllm_where_it_is_absent(model, folders, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "serve",
                "--engine",
                "vllm",
                "--port",
                "0",
                "--model",
                str(model),
                "--policies",
                f"a={folders['one']}",
            ]
        )
    assert ended.value.code == 2
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert "pip install 'pluralign[vllm]'" in message


def test_engine_args_are_for_vllm(model, folders, capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--engine-args", "dtype=float32", "--policies", f"a={folders['one']}"])
    assert "is for --engine vllm" in capsys.readouterr().err


@pytest.mark.parametrize("opens", [False, True])
def test_the_template_of_dialogues_is_the_projects(opens):
    from jinja2 import Environment

    template = Environment().from_string(dialogue_template().read_text())
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello\n"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": " and?"},
    ]
    found = template.render(messages=messages, add_generation_prompt=opens)
    assert found == dialogue(messages, opens)


def test_soups_are_those_of_pluralign(folders, tmp_path):
    policies = {name: str(folder) for name, folder in folders.items()}
    resolver = SoupResolver(policies, tmp_path / "soups", most=2)
    found = resolver.folder("mix:one=0.75,two=0.25")
    other = tmp_path / "other"
    other.mkdir()
    soup_adapter(folders, SteeringWeights(one=0.75, two=0.25), other)
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (found, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert resolver.folder("mix:two=0.25,one=0.75") == found
    for name, message in (
        ("mix:one=0.5", "sum to 1"),
        ("mix:one=0.5,three=0.5", "unknown objective 'three'"),
        ("mix:one", "expected NAME=NUMBER"),
    ):
        with pytest.raises(InputError, match=message):
            resolver.folder(name)
    resolver.folder("mix:two=1")
    with pytest.raises(InputError, match="has made 2 soups already"):
        resolver.folder("mix:one=1")


def test_nothing_is_left_of_a_soup_that_cannot_be_made(tmp_path):
    resolver = SoupResolver({"base": None}, tmp_path / "soups")
    with pytest.raises(InputError, match="no adapter has weight"):
        resolver.folder("mix:base=1")
    assert not list((tmp_path / "soups").iterdir())
