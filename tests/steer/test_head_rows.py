"""Decoding of heads: the mixture of the policies that they are, one row per request."""

from pathlib import Path

import pytest
import torch
from tiny_heads import write_heads
from torch import nn

import pluralign as pl
from pluralign.core import InputError, SteeringWeights
from pluralign.folders.heads import load_heads
from pluralign.lm.backbone import Backbone, load_backbone, make_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.tiny import make_tiny_model
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.head_rows import HeadRows
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.requests import Request

NAMES = ("helpful", "harmless", "brief")
WEIGHTS = SteeringWeights(helpful=0.5, harmless=0.3, brief=0.2)
IDS = [list(range(20, 32)), list(range(40, 47))]


def head_of(backbone: Backbone, change) -> nn.Parameter:
    return nn.Parameter(backbone.model.get_output_embeddings().weight + change.up @ change.down)


def whole(backbone: Backbone, change) -> Backbone:
    """A model with a changed head as a model of its own."""
    model = make_tiny_model(0)
    model.get_output_embeddings().weight = head_of(backbone, change)
    return make_backbone(model.requires_grad_(False).eval(), backbone.tokenizer, backbone.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three random heads on tiny-random."""
    return write_heads(tmp_path_factory.mktemp("heads") / "heads", NAMES)


@pytest.fixture(scope="module")
def sides(folder: Path) -> tuple[HeadRows, ModelRows]:
    """The heads, and the same policies as whole models."""
    found = load_heads(folder)
    models = ModelRows({name: whole(found.backbone, change) for name, change in found.heads.items()})
    return HeadRows(found.backbone, found.heads), models


def log_probs(rows, power: float, steps: int = 3) -> torch.Tensor:
    """Log-probabilities of two mixtures after their prompts and some tokens."""
    mixes = [WEIGHTS, SteeringWeights(helpful=0.1, brief=0.9)]
    entries = [
        (request, rows.names.index(name), ids)
        for request, (mix, ids) in enumerate(zip(mixes, IDS, strict=True))
        for name in mix if mix[name] > 0
    ]  # fmt: skip
    found, order, parts = rows.admit(entries), [entry[:2] for entry in entries], list[torch.Tensor]()
    for step in range(steps):
        weights = torch.tensor([mixes[request][rows.names[policy]] for request, policy in order])
        owners = torch.tensor([request for request, _ in order])
        parts.append(found.mixed(owners, weights, 2, power))
        found, order = rows.step({0: 50 + step, 1: 60 + step}), list(rows.order)
    rows.release({0, 1})
    return torch.stack(parts)


@pytest.mark.parametrize("power", [GEOMETRIC, ARITHMETIC, HARMONIC])
def test_a_mixture_of_heads_is_that_of_whole_policies(sides, power):
    heads, models = sides
    found, expected = log_probs(heads, power), log_probs(models, power)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(found.exp().sum(-1), torch.ones(3, 2), atol=1e-5)
    assert heads.order == []


def test_the_mean_of_the_logits_is_that_of_the_mean_head(folder):
    found = load_heads(folder)
    states = torch.randn(5, found.backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    weights = [WEIGHTS[name] for name in NAMES]
    every = [states @ head_of(found.backbone, change).T for change in found.heads.values()]
    mean = sum(w * head_of(found.backbone, c) for w, c in zip(weights, found.heads.values(), strict=True))
    assert torch.allclose(sum(w * z for w, z in zip(weights, every, strict=True)), states @ mean.T, atol=1e-5)


def test_all_weight_on_one_head_is_its_greedy_text(folder):
    # In bfloat16, which is the faster type of some processors, ties of a random model fall either way.
    mix = pl.load_policies("tiny-random", folder, dtype="float32")
    found = load_heads(folder)
    for name in NAMES:
        weights = dict.fromkeys(NAMES, 0.0) | {name: 1.0}
        text = mix.generate("Hello there", weights=weights, max_new_tokens=12, temperature=0)
        alone = whole(found.backbone, found.heads[name])
        ids = torch.tensor([mix.text_ids("Hello there")])
        own = alone.model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
        assert text == alone.tokenizer.decode(own[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_request_has_one_row_for_all_its_policies(sides):
    heads, _ = sides
    tokens: list[int] = []
    model = heads.backbone.model.get_input_embeddings()
    hook = model.register_forward_hook(lambda _, given, __: tokens.append(given[0].numel()))
    try:
        decoder = MixtureDecoder(heads)
        decoder.generate([Request(ids, WEIGHTS, Decoding(3, 0.0)) for ids in IDS])
    finally:
        hook.remove()
    assert tokens == [sum(map(len, IDS)), 2, 2]


def test_prompts_are_read_in_parts_and_scored_alike(sides):
    requests = [Request(ids, WEIGHTS, Decoding(5, 0.0)) for ids in IDS]
    heads, models = sides
    texts = [MixtureDecoder(rows, prefill=n).generate(requests) for rows in sides for n in (None, 3)]
    assert texts[1:] == texts[:-1]
    scored = [
        next(
            event.prompt
            for event in MixtureDecoder(rows).events(
                [Request(IDS[0], WEIGHTS, Decoding(1, 0.0), alternatives=1, prompt_log_probs=True)]
            )
            if event.prompt is not None
        )
        for rows in (heads, models)
    ]
    found, expected = ([one.log_prob for one in own[1:]] for own in scored)
    assert found == pytest.approx(expected, abs=1e-5)


def test_heads_are_loaded_by_folder_by_name_and_not_with_others(folder, tmp_path):
    assert pl.load_policies("tiny-random", folder).objectives == NAMES
    assert pl.load_policies("tiny-random", str(folder)).headed
    assert pl.load_policies("tiny-random", brief=folder).objectives == ("brief",)
    with pytest.raises(InputError, match="no head of 'kind'; its objectives are helpful, harmless, brief"):
        pl.load_policies("tiny-random", kind=folder)
    with pytest.raises(InputError, match="'other' is in another folder"):
        pl.load_policies("tiny-random", brief=folder, other="tiny-random")
    with pytest.raises(InputError, match="no such folder"):
        pl.load_policies("tiny-random", tmp_path / "missing")


def test_heads_of_another_model_are_refused(folder, tmp_path):
    model = make_tiny_model(1)
    model.save_pretrained(tmp_path / "other")
    load_backbone("tiny-random").tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="trained on a different"):
        pl.load_policies(str(tmp_path / "other"), folder)
