"""Value models: values of separate sequences, folders, and who shares a trunk."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pluralign.core import Decision, InputError
from pluralign.data.examples import ScoredCompletion
from pluralign.data.load import load_pairs
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.value import HLGauss, ValueConfig, fit_value
from pluralign.lm.backbone import load_backbone
from pluralign.losses.value import Bins
from pluralign.rewards.reward_model import load_reward_model
from pluralign.rewards.value_head import ValueHead, make_value_head
from pluralign.rewards.value_model import load_value_model, read_value_folder
from pluralign.steer.value_guided import Guidance, open_value_guided_rows
from pluralign.steer.value_rows import open_value_rows

DECISIONS = [
    Decision("Say a:", (" a!", " a and a good deal more of it.")),
    Decision("A much longer prompt than the others have, for padding:", (" b.", " bb.", "")),
    Decision("", (" no prompt at all", " none")),
]
KINDS = {
    "adapter": ({"lora_rank": 4}, None),
    "classes": ({"lora_rank": 4}, HLGauss(11)),
    "head": ({"layers": 0}, None),
    "upper": ({"layers": 1}, HLGauss(11)),
    "all": ({}, None),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    rows = [ScoredCompletion(f"Say {w}:", f" {w}" * n, float(n)) for w in "abcdef" for n in (1, 2, 3)]
    for name, (tuning, classes) in KINDS.items():
        run = Run("tiny-random", folder / name, Training(epochs=2, learning_rate=1e-2, bf16=False, **tuning))
        fit_value(rows, run, ValueConfig(classes=classes))
    return folder


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("budget", [1, 90, 100_000])
def test_neighbours_and_budget_change_no_value(trained, name, budget):
    model = load_value_model(trained / name, token_budget=budget)
    for decision, found in zip(DECISIONS, model.values(DECISIONS), strict=True):
        for option, values in zip(decision.options, found, strict=True):
            ((alone,),) = model.values([Decision(decision.prompt, (option,))])
            np.testing.assert_allclose(values, alone, atol=1e-5)
            assert len(values) == len(option) + 1


@pytest.mark.parametrize("name", ["adapter", "classes", "all"])
def test_a_value_is_the_head_after_each_token_of_a_plain_sequence(trained, name):
    model = load_value_model(trained / name)
    tokenizer, network = model.backbone.tokenizer, model.backbone.model
    for decision, found in zip(DECISIONS[:2], model.values(DECISIONS[:2]), strict=True):
        for option, values in zip(decision.options, found, strict=True):
            ids = tokenizer(decision.prompt + option)["input_ids"] + [tokenizer.eos_token_id]
            with torch.no_grad():
                hidden = network(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
                expected = model.head.values(model.head(hidden[-len(values) :]))
            np.testing.assert_allclose(values, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("bins", [None, Bins(-1.0, 3.0, 8)])
def test_a_head_begins_without_an_opinion(bins):
    head = ValueHead(6, bins)
    values = head.values(head(torch.randn(5, 6)))
    torch.testing.assert_close(values, torch.full((5,), 0.0 if bins is None else 1.0))
    again = make_value_head(json.loads(json.dumps(head.describe())))
    assert again.bins == bins
    assert again.linear.weight.shape == head.linear.weight.shape
    half = head(torch.randn(5, 6, dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    outputs = torch.randn(5, 1 if bins is None else 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head.values(outputs)
    assert torch.equal(mixed, head.values(outputs))


def test_no_head_is_described():
    for described in ({}, {"dimension": 4, "bins": {"low": 0}}, {"dimension": -1, "bins": None}):
        with pytest.raises(InputError, match="is no description of a value head"):
            make_value_head(described)


def test_adapters_and_heads_share_a_trunk_that_the_language_model_shares(trained):
    folders = {name: trained / name for name in KINDS}
    rows, trunks = open_value_rows(folders)
    assert [part.names for part in rows] == [("upper",), ("all",), ("adapter", "classes", "head")]
    assert list(trunks) == ["tiny-random"]
    guided = open_value_guided_rows("tiny-random", folders, Guidance())
    assert guided.backbone.model is guided._values[2].backbone.model
    other = open_value_guided_rows(load_backbone("tiny-random"), folders, Guidance())
    assert other.backbone.model is not other._values[2].backbone.model


def test_rows_give_the_values_of_the_folder(trained):
    """What guides, whichever way it is loaded, is what the value model says of the whole text."""
    folders = {name: trained / name for name in KINDS}
    tokenizer = load_backbone("tiny-random").tokenizer
    prompt, letters = "Say a: b", "cde"
    candidates = {0: [tokenizer(letter)["input_ids"][0] for letter in letters]}
    for part in open_value_rows(folders)[0]:
        entries = [(0, number, tokenizer(prompt)["input_ids"]) for number in range(len(part.names))]
        for name, values in zip(part.names, part.admit(entries, candidates), strict=True):
            expected = load_value_model(trained / name).values([Decision(prompt, tuple(letters))])[0]
            np.testing.assert_allclose(values, [v[0] for v in expected], atol=1e-5)


def test_a_folder_that_is_something_else_is_told(trained, tmp_path):
    with pytest.raises(InputError, match="holds a value model"):
        load_reward_model(trained / "all")
    with pytest.raises(InputError, match="holds a value model"):
        load_language_policy(trained / "all")
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(f'{{"prompt": "{w}", "chosen": "x", "rejected": "y"}}' for w in "abcd"))
    pairs = load_pairs(data, "lively", split="train")
    fit_bradley_terry(pairs, Run("tiny-random", tmp_path / "bt", Training(layers=0, bf16=False)))
    with pytest.raises(InputError, match="expected a value model"):
        load_value_model(tmp_path / "bt")
    with pytest.raises(InputError, match="no such folder"):
        load_value_model(tmp_path / "nowhere")


def copied(folder, place, **changes):
    place.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (place / path.name).write_bytes(path.read_bytes())
    card = json.loads((place / "card.json").read_text())
    (place / "card.json").write_text(json.dumps({**card, **changes}))
    return place


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rewards": {"mean": 0.0, "deviation": 0.0}}, "holds no scale"),
        ({"rewards": None}, "holds no scale"),
        ({"max_length": None}, "has no settings for reading text"),
        ({"template": "haiku"}, "must be one of"),
        ({"head": {"dimension": 9, "bins": None}}, "does not contain this model's head"),
        ({"backbone": {"name": "tiny-random", "fingerprint": "x"}}, "a different"),
    ],
)
def test_a_changed_card_is_told(trained, tmp_path, changes, told):
    folder = copied(trained / "head", tmp_path / "copy", **changes)
    with pytest.raises(InputError, match=told):
        open_value_rows({"a": folder})
    with pytest.raises(InputError, match=told):
        load_value_model(folder)


def test_a_damaged_head_is_told(trained, tmp_path):
    folder = copied(trained / "head", tmp_path / "copy")
    tensors = load_file(folder / "head.safetensors")
    save_file({name: value + 1 for name, value in tensors.items()}, folder / "head.safetensors")
    with pytest.raises(InputError, match="damaged"):
        read_value_folder(folder)
