"""Rewarded soups on a tiny model: averaged adapters and averaged models are one and the same."""

import json

import pytest
import torch

from pluralign.core import InputError, SteeringWeights
from pluralign.folders.soups import soup_adapter, soup_backbone
from pluralign.lm.adapters import read_adapter, save_adapter
from pluralign.lm.backbone import load_backbone, make_backbone, make_tiny_backbone

# PEFT 0.21 asks transformers for an attribute that was renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

TOKENS = torch.tensor([[5, 90, 17, 33, 201, 7]])
RANKS = {"one": 2, "two": 5, "three": 8}


def adapter(seed, rank, alpha=None, targets="all-linear", **more):
    """A tiny model with a random adapter."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=alpha or rank, target_modules=targets, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(make_tiny_backbone().model, config)
        for name, value in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(value, std=0.2)
    return model.eval()


@pytest.fixture
def folders(tmp_path):
    for seed, (name, rank) in enumerate(RANKS.items()):
        save_adapter(adapter(seed, rank), tmp_path / name)
    return {name: tmp_path / name for name in RANKS}


@torch.inference_mode()
def logits(model):
    return model(TOKENS).logits[0]


def soup_logits(folders, weights, out):
    soup_adapter(folders, SteeringWeights(weights), out)
    return logits(read_adapter(make_tiny_backbone().model, out).eval())


def interpolated(folders, weights):
    """Logits of the model whose weights are the mean of the merged models' weights."""
    merged = {
        name: read_adapter(make_tiny_backbone().model, folder).merge_and_unload().state_dict()
        for name, folder in folders.items()
    }
    model = make_tiny_backbone().model
    model.load_state_dict(
        {key: sum(weights[name] * state[key] for name, state in merged.items()) for key in model.state_dict()}
    )
    return logits(model)


@pytest.mark.parametrize("name", RANKS)
def test_all_the_weight_on_one_adapter_is_that_adapter(folders, name, tmp_path):
    found = soup_logits(folders, {**dict.fromkeys(RANKS, 0.0), name: 1.0}, tmp_path / "soup")
    own = logits(read_adapter(make_tiny_backbone().model, folders[name]))
    torch.testing.assert_close(found, own, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "soup" / "adapter_config.json").read_text())["r"] == RANKS[name]


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.0), (0.2, 0.3, 0.5), (0.1, 0.8, 0.1)])
def test_the_sum_of_adapters_is_the_mean_of_merged_weights(folders, shares, tmp_path):
    weights = dict(zip(RANKS, shares, strict=True))
    found = soup_logits(folders, weights, tmp_path / "soup")
    torch.testing.assert_close(found, interpolated(folders, weights), atol=1e-5, rtol=0)
    # And it is no mixture by accident: each adapter with weight moves the logits by far more than that.
    own = logits(read_adapter(make_tiny_backbone().model, folders["two"]))
    assert (found - own).abs().max() > 0.01


def test_the_trunk_itself_is_an_ingredient_that_adds_nothing(folders, tmp_path):
    weights = {"one": 0.4, "two": 0.6}
    found = soup_logits({"one": folders["one"], "two": None}, weights, tmp_path / "soup")
    state = make_tiny_backbone().model.state_dict()
    merged = read_adapter(make_tiny_backbone().model, folders["one"]).merge_and_unload().state_dict()
    model = make_tiny_backbone().model
    model.load_state_dict({key: 0.4 * merged[key] + 0.6 * state[key] for key in state})
    torch.testing.assert_close(found, logits(model), atol=1e-5, rtol=0)


def test_scalings_and_layers_may_differ(tmp_path):
    kinds = {
        "scaled": {"rank": 4, "alpha": 10},
        "stabilised": {"rank": 4, "alpha": 6, "use_rslora": True},
        "some": {"rank": 3, "targets": ["q_proj", "down_proj"], "alpha_pattern": {"q_proj": 9},
                 "rank_pattern": {"down_proj": 6}},
    }  # fmt: skip
    for seed, (name, kind) in enumerate(kinds.items()):
        save_adapter(adapter(seed, **kind), tmp_path / name)
    folders = {name: tmp_path / name for name in kinds}
    weights = {"scaled": 0.3, "stabilised": 0.45, "some": 0.25}
    found = soup_logits(folders, weights, tmp_path / "soup")
    torch.testing.assert_close(found, interpolated(folders, weights), atol=1e-5, rtol=0)


def test_whole_models_are_averaged_and_stay_as_they_are(folders):
    models = {}
    for name, folder in folders.items():
        backbone = load_backbone("tiny-random", adapter=folder)
        models[name] = make_backbone(backbone.model.merge_and_unload(), backbone.tokenizer, name)
    before = logits(models["one"].model)
    weights = {"one": 0.25, "two": 0.25, "three": 0.5}
    soup = soup_backbone(models, SteeringWeights(weights))
    torch.testing.assert_close(logits(soup.model), interpolated(folders, weights), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(models["one"].model), before, atol=0, rtol=0)
    only = soup_backbone(models, SteeringWeights(two=1.0))
    torch.testing.assert_close(logits(only.model), logits(models["two"].model), atol=1e-6, rtol=0)


def test_what_cannot_be_averaged_is_refused(folders, tmp_path):
    half = SteeringWeights(one=0.5, two=0.5)
    with pytest.raises(InputError, match="unknown objective 'four'"):
        soup_adapter(folders, SteeringWeights(one=0.5, four=0.5), tmp_path / "soup")
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        soup_adapter({**folders, "two": tmp_path}, half, tmp_path / "soup")
    save_adapter(adapter(0, 2, use_dora=True), tmp_path / "dora")
    with pytest.raises(InputError, match=r"only plain LoRA .*: it uses use_dora"):
        soup_adapter({**folders, "two": tmp_path / "dora"}, half, tmp_path / "soup")
    with pytest.raises(InputError, match="no adapter has weight"):
        soup_adapter({**folders, "one": None}, SteeringWeights(one=1.0), tmp_path / "soup")
    assert not (tmp_path / "soup").exists()
    other = make_tiny_backbone(architecture="gpt2")
    with pytest.raises(InputError, match="different models"):
        soup_backbone({"one": make_tiny_backbone(), "two": other}, half)
