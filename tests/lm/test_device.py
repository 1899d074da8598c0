"""Devices of models by name."""

import json
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import pluralign as pl
from pluralign.cli import main
from pluralign.core import InputError
from pluralign.lm.backbone import load_backbone
from pluralign.lm.device import default_device, resolve_device, use_device
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "mps:0", "cpu:", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(InputError, match="must be cpu, cuda, cuda:NUMBER or mps"):
        resolve_device(name)


@no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(InputError, match="field 'device': this machine has no such device"):
        load_backbone("tiny-random", device=name)
    with pytest.raises(InputError, match="field 'device'"):
        pl.load_policies("tiny-random", a="tiny-random", device=name)


def test_the_innermost_device_is_used_and_left():
    before = default_device()
    with use_device("cpu") as device:
        assert default_device() == device == torch.device("cpu")
        with use_device(None):
            assert default_device() == device
    assert default_device() == before
    assert load_backbone("tiny-random", device="cpu").device.type == "cpu"


def test_verbs_have_the_option(capsys, tmp_path):
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["models", "check", "tiny-random", "--device", "cpu", "--json", str(out)])
    assert ended.value.code == 0
    assert "sampling" in json.loads(out.read_text()) or json.loads(out.read_text())
    with pytest.raises(SystemExit) as ended:
        main(["models", "check", "tiny-random", "--device", "tpu"])
    assert ended.value.code == 2
    assert "must be cpu, cuda, cuda:NUMBER or mps, found 'tpu'" in capsys.readouterr().err


def test_a_model_in_bfloat16_is_the_one_that_transformers_loads(tmp_path):
    make_tiny_model(0).save_pretrained(tmp_path)
    make_tiny_tokenizer().save_pretrained(tmp_path)
    ours = load_backbone(str(tmp_path), dtype=torch.bfloat16, device="cpu").model
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    # Rounded frequencies would turn far positions by a radian.
    assert ours.model.rotary_emb.inv_freq.dtype == torch.float32
    ids = torch.arange(3, 103)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


_MEASURE = """
import sys, torch
from pluralign.lm.backbone import load_backbone

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

load_backbone("tiny-random")
before = peak()
kept = load_backbone(sys.argv[1], dtype=torch.bfloat16, device="cpu")
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_in_bfloat16_is_never_in_memory_twice(forks, tmp_path):
    config = LlamaConfig(
        vocab_size=259, hidden_size=1024, intermediate_size=4096, num_hidden_layers=8, num_attention_heads=8
    )
    # Random weights would take seconds.
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    weights = {
        name: torch.ones(value.shape, dtype=torch.bfloat16) for name, value in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    size = sum(value.nbytes for value in model.state_dict().values())
    model.save_pretrained(tmp_path)
    make_tiny_tokenizer().save_pretrained(tmp_path)
    script = tmp_path / "measure.py"
    script.write_text(_MEASURE)
    done = forks.run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1.15 * size
