"""The cases that were reported, with their right values, and where the tests of their kinds are.

The tests of this file read the models and rows of a folder `shared/cases` next to the checkout, and are
skipped where there is none. The tests of their kinds make their own:

- models (windows, sliding and full layers in turn, position factors by length, convolutions, latent
  attention, learned positions, scaled embeddings): `test_architectures.py`; ``--training.layers``:
  `test_layers.py`, `tests/learn/texts/test_lower_states.py`; limits of
  positions: `tests/learn/texts/test_limits.py`;
- adapters: `test_adapter_check.py`, `tests/steer/test_adapter_kinds.py`, `tests/cli/test_adapters.py`;
- conversations: `test_conversations.py` here and in `tests/cli` and `tests/steer`, and
  `tests/data/test_conversation_columns.py`;
- counts: `tests/learn/texts/test_cuts.py`, `tests/rewards/test_classifier_ends.py`,
  `tests/cli/test_moved_folders.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from json_lines import rows_of, write
from transformers import AutoModelForCausalLM

import pluralign as pl
from pluralign.lm.backbone import load_backbone
from pluralign.lm.forest import Tree
from pluralign.lm.map_forests import map_forests
from pluralign.lm.passes import trunk_of
from pluralign.lm.positions import reset_factors
from pluralign.lm.vocabulary import branch_log_probs

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
LONG = "A prompt of more than thirty-two bytes, that is all."
MODELS = (
    "mistral_sw16", "gemma3_sw16", "gemma3_ssf", "phi3_longrope", "lfm2", "deepseek_v3", "opt", "granite",
    "think_template", "no_system_template", "llama",
)  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    """The folder of the reported cases; skipped where there is none."""
    if not CASES.is_dir():
        pytest.skip("there is no shared/cases")
    return CASES


@pytest.fixture
def run():
    """The command line in this process; returns its exit code."""
    from pluralign.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in arguments])
        return int(ended.value.code or 0)

    return call


def _ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", MODELS)
def test_the_reported_models_read_a_text_as_transformers_does(cases, name):
    backbone = load_backbone(str(cases / "models" / name), dtype=torch.float32)
    tokenizer = backbone.tokenizer
    trees = [
        Tree(_ids(tokenizer, LONG), [_ids(tokenizer, " b"), _ids(tokenizer, " c, d")]),
        Tree(_ids(tokenizer, "Hi"), [_ids(tokenizer, " a")]),
    ]

    def of_branches(states, forest):
        return branch_log_probs(backbone.model, states, forest)

    plain = AutoModelForCausalLM.from_pretrained(cases / "models" / name, dtype=torch.float32).eval()
    with torch.no_grad():
        found = map_forests(backbone.model, trees, of_branches)
        alone = map_forests(backbone.model, trees[1:], of_branches)
        torch.testing.assert_close(found[1], alone[0], atol=1e-5, rtol=1e-5)
        for tree, own in zip(trees, found, strict=True):
            for branch, log_prob in zip(tree.branches, own, strict=True):
                ids = [*tree.prompt_ids, *branch]
                reset_factors(trunk_of(plain))
                logits = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
                places = range(len(tree.prompt_ids), len(ids))
                expected = logits[[p - 1 for p in places], [ids[p] for p in places]].sum()
                torch.testing.assert_close(log_prob, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["lfm2", "phi3_longrope", "mistral_sw16"])
def test_a_score_does_not_depend_on_its_neighbours(cases, name):
    rewards = pl.fit_reward(
        pl.load_pairs(str(cases / "texts" / "pairs.jsonl"), "o"),
        model=str(cases / "models" / name),
        training=pl.Training(learning_rate=3e-3),
    )
    both = rewards.score([LONG, "Hi"], [" b", " a"])
    assert rewards.score(["Hi"], [" a"])[0] == pytest.approx(both[1], abs=1e-5)


def test_the_completion_after_a_closed_thinking_block(cases, run, tmp_path):
    model = ("--model", cases / "models" / "think_template", "--template", "chat")
    texts, scored = cases / "texts", tmp_path / "s.jsonl"
    assert (
        run("learn", "bradley-terry", "--data", texts / "pairs.jsonl", *model, "--out", tmp_path / "r") == 0
    )
    command = ("score", "--model", tmp_path / "r", "--data", texts / "messages.jsonl", "--spans", "tokens")
    assert run(*command, "--out", scored) == 0
    for row in rows_of(scored):
        (one,) = row["rewards"].values()
        assert one["reward"] == pytest.approx(-0.2146, abs=1e-4)
        assert "".join(span["text"] for span in one["tokens"]).removesuffix("<|im_end|>").strip() == "good 1"


@pytest.mark.parametrize("verb", ["generate", "learn sft"])
def test_a_template_that_refuses_a_system_role(cases, run, tmp_path, capsys, verb):
    messages = [{"role": role, "content": "a"} for role in ("system", "user", "assistant")]
    data = write(tmp_path / "d.jsonl", [{"messages": messages}])
    option = "--prompts" if verb == "generate" else "--data"
    model = ("--model", cases / "models" / "no_system_template")
    more = () if verb == "generate" else ("--template", "chat")
    assert run(*verb.split(), option, data, *model, *more, "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "d.jsonl:1" in line
    assert "the chat template refuses the messages" in line
