"""`check_model`: each use of a model is right, right by the plain way, or refused by name."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from architectures import make
from transformers import AutoModelForCausalLM, BertConfig

from pluralign.cli import main
from pluralign.core import InputError
from pluralign.evaluate.model_check import check_model
from pluralign.lm.support import support_of
from pluralign.lm.tiny import make_tiny_tokenizer


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setenv("PLURALIGN_CACHE", str(tmp_path / "cache"))

    def save(name):
        make(name).save_pretrained(tmp_path / "model")
        make_tiny_tokenizer().save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("llama", {"right"}),
        ("gemma2", {"right"}),
        ("mamba", {"plain way"}),
        ("diffllama", {"right", "plain way"}),
    ],
)
def test_uses(saved, name, ways, caplog):
    with caplog.at_level(logging.WARNING):
        uses = check_model(saved(name), dtype="float32")
    passes = ("learning, scores, likelihoods", "samples", "mixtures", "value guidance")
    assert {uses[use].way for use in passes} == ways
    assert all(use.note for use in uses.values() if use.way != "right")
    assert ("which is slower" in caplog.text) == ("plain way" in ways)


def test_exports_are_compared_in_the_precision_of_exports(saved):
    """Rounding to bfloat16 is no reason to refuse an export, which is in float32."""
    uses = check_model(saved("llama"), dtype="bfloat16")
    assert uses["export of rewards"].way == "right", uses["export of rewards"].note


def test_the_verdict_is_remembered(saved, tmp_path):
    model = saved("llama")
    check_model(model, dtype="float32")
    (file,) = (tmp_path / "cache" / "support").iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "forest": "kept", "decoding": "kept"}))
    assert check_model(model, dtype="float32")["mixtures"].note == "kept"
    file.write_text("damaged")
    assert check_model(model, dtype="float32")["mixtures"].way == "right"


def test_length_dependent_positions_are_named(saved):
    uses = check_model(saved("phi3 longrope"), dtype="float32")
    assert uses["mixtures"].way == "right"
    assert "beyond 32 tokens" in uses["mixtures"].note
    assert uses["value guidance"].way == "plain way"


def test_models_that_look_ahead_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PLURALIGN_CACHE", str(tmp_path))
    config = BertConfig(
        vocab_size=259, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
    )
    for _ in range(2):
        with pytest.raises(InputError, match="not causal"):
            support_of(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval())


def test_the_command_line(saved, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["models", "check", saved("llama"), "--dtype", "float32", "--json", str(tmp_path / "t.json")])
    assert ended.value.code == 0
    assert "mixtures" in capsys.readouterr().out
    assert json.loads((tmp_path / "t.json").read_text())["mixtures"] == {"way": "right", "note": ""}
