"""Adapters of several kinds are the same in every verb: generate, score, learn on, export, average, mix."""

import json

import numpy as np
import pytest
import torch
from peft_adapters import CONFIGS, by_peft, greedy, ids, lora, make_adapter, save_model
from transformers import AutoModelForCausalLM

import pluralign as pl
from pluralign.core import SteeringWeights
from pluralign.folders.soups import soup_backbone
from pluralign.lm.adapters import probe_logits
from pluralign.lm.backbone import load_backbone
from pluralign.lm.forest import Tree
from pluralign.lm.language_model import LanguageModel
from pluralign.rewards.export import export_folder
from pluralign.steer.policies import load_policies
from pluralign.steer.policy_folders import open_whole

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
PROMPTS = ["hello there", "what is it that you want?"]
KINDS = {
    "plain": ("tied", lora()),
    "head": ("tied", lora(["q_proj", "lm_head"])),
    "embedding": ("tied", lora(["embed_tokens"])),
    "tokens": ("tied", lora(trainable_token_indices=[75, 90])),
    "biases": ("biases", lora(bias="all")),
    "pissa": ("tied", lora(init_lora_weights="pissa")),
    "experts": ("qwen3-moe", lora()),
}


@pytest.fixture(params=KINDS)
def made(request, tmp_path):
    """Folders of a model and of an adapter, and the model as PEFT loads it."""
    name, config = KINDS[request.param]
    model = save_model(CONFIGS[name], tmp_path / "model")
    make_adapter(model, config, tmp_path / "adapter")
    return model, tmp_path / "adapter", by_peft(model, tmp_path / "adapter")


def test_generate_writes_what_peft_writes(made, run, tmp_path):
    model, adapter, reference = made
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    given = (
        "--prompts",
        tmp_path / "prompts.txt",
        "--temperature",
        0,
        "--max-new-tokens",
        8,
        "--dtype",
        "float32",
    )
    for name, place in {
        "both": ("--model", model, "--adapter", adapter),
        "one": ("--model", adapter),
    }.items():
        assert run("generate", *place, *given, "--out", tmp_path / name) == 0
        rows = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        found = {row["prompt"]: row["completion"] for row in rows if "prompt" in row}
        assert found == {prompt: greedy(reference, prompt) for prompt in PROMPTS}


def test_scores_are_those_of_peft(made):
    model, adapter, reference = made
    backbone = load_backbone(str(model), dtype=torch.float32, adapter=adapter)
    tree = Tree(ids(PROMPTS[0]), [ids(" yes"), ids(" no, not at all")])
    (found,) = LanguageModel(backbone)._branch_log_probs([tree])
    for branch, log_prob in zip(tree.branches, found, strict=True):
        tokens, start = [*tree.prompt_ids, *branch], len(tree.prompt_ids)
        with torch.inference_mode():
            logs = reference(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
        expected = sum(float(logs[i - 1, tokens[i]]) for i in range(start, len(tokens)))
        assert float(log_prob) == pytest.approx(expected, abs=5e-5)


def test_learning_goes_on_from_an_adapter_and_is_exported(made, tmp_path):
    _, adapter, reference = made
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(4)]
    pairs = pl.load_pairs(rows, objective="agreement", split="train")
    training = pl.Training(epochs=1, learning_rate=1e-9, lora_rank=2)
    pl.fit_policy(pairs, model=str(adapter), training=training, out=tmp_path / "policy")
    export_folder(tmp_path / "policy", tmp_path / "exported")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "exported").eval()
    torch.testing.assert_close(probe_logits(exported), probe_logits(reference), atol=2e-5, rtol=1e-5)
    mix = load_policies(str(adapter), own=tmp_path / "policy", start=adapter, dtype="float32")
    for name in ("own", "start"):
        text = mix.generate(PROMPTS[0], weights={name: 1.0}, max_new_tokens=8, temperature=0.0)
        assert text == greedy(reference, PROMPTS[0])


def test_soups_of_whole_models_average_what_each_merged_adapter_is(made):
    model, adapter, reference = made
    models = {
        "model": open_whole(model, str(model), torch.float32),
        "own": open_whole(adapter, str(model), torch.float32),
    }
    for own in (0.0, 0.5, 1.0):
        soup = soup_backbone(models, SteeringWeights(model=1 - own, own=own))
        merged, base = models["own"].model.state_dict(), models["model"].model.state_dict()
        for name, value in soup.model.state_dict().items():
            torch.testing.assert_close(
                value, own * merged[name] + (1 - own) * base[name], atol=1e-6, rtol=1e-6
            )
        if own == 1:
            torch.testing.assert_close(
                probe_logits(soup.model), probe_logits(reference), atol=2e-5, rtol=1e-5
            )


def test_adapters_of_experts_as_they_are_learned_can_be_mixed(tmp_path):
    model = save_model(CONFIGS["mixtral"], tmp_path / "model")
    for name, words in {"yes": (" yes", " no"), "no": (" no", " yes")}.items():
        rows = [{"prompt": f"Say {i}:", "chosen": words[0], "rejected": words[1]} for i in range(4)]
        training = pl.Training(epochs=8, learning_rate=1e-2, lora_rank=2)
        pl.fit_policy(
            pl.load_pairs(rows, objective=name, split="train"), model=str(model), training=training,
            out=tmp_path / name,
        )  # fmt: skip
    mix = load_policies(str(model), yes=tmp_path / "yes", no=tmp_path / "no", dtype="float32")
    assert not mix.shared
    entries = [(0, policy, ids("Say 1:")) for policy in range(2)]
    found = mix.rows.admit(entries).logits().log_softmax(-1).numpy()
    for name, logs in zip(mix.rows.names, found, strict=True):
        reference = by_peft(model, tmp_path / name / "adapter")
        with torch.inference_mode():
            expected = reference(input_ids=torch.tensor([ids("Say 1:")])).logits[0, -1].log_softmax(-1)
        np.testing.assert_allclose(logs, expected.numpy(), atol=2e-5)
