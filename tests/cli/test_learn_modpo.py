"""The verb ``learn modpo``, as a person would use it, on a tiny random model."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pluralign.core.records import write_records
from pluralign.data.load import load_pairs
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.lm.backbone import load_backbone
from pluralign.rewards.open import load_reward

WORDS = [a + b for a in "abcd" for b in "efgh"]
QUICK = (
    "--model", "tiny-random", "--training.bf16", "False", "--training.epochs", "2",
    "--training.learning-rate", "1e-3",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two objectives that disagree about everything, and what was learned of each."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("made")
    for name, chosen, rejected in (("lively", "!", "."), ("calm", ".", "!")):
        rows = [
            {"prompt": f"Say {w}:", "chosen": f" {w}{chosen}", "rejected": f" {w}{rejected}"} for w in WORDS
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for method, name in (("bradley-terry", "calm"), ("dpo", "calm"), ("sft", "calm"), ("dpo", "lively")):
        data, out = folder / f"{name}.jsonl", folder / f"{method}-{name}"
        beta = ["--config.beta", "0.25"] if method == "dpo" else []
        with pytest.raises(SystemExit) as ended:
            main(["learn", method, "--data", str(data), "--out", str(out), *QUICK, *beta])
        assert not ended.value.code
    return folder


@pytest.fixture
def command(made, tmp_path):
    def make(margins, weights, *options):
        return (
            "learn", "modpo", "--data", made / "lively.jsonl", "--out", tmp_path / "out",
            "--margins", *margins, "--weights", weights, "--config.beta", "0.25", *QUICK, *options,
        )  # fmt: skip

    return make


def test_it_writes_a_policy_and_tells_what_the_margins_are(run, command, made, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    margins = [f"calm={made / 'bradley-terry-calm'}", f"quiet=closed-form:{made / 'dpo-calm'}"]
    asked = command(margins, "lively=0.5,calm=0.3,quiet=0.2", "--json", figures)
    assert run(*asked) == 0
    told = capsys.readouterr().out.splitlines()
    assert "16 pairs" in told[0]
    assert [line.split(" agrees")[0] for line in told[1:3]] == ["calm", "quiet"]
    assert "validation accuracy" in told[-1]
    card = load_card(tmp_path / "out")
    assert (card.method, card.objective) == ("modpo", "lively")
    assert card.config["weights"] == {"lively": 0.5, "calm": 0.3, "quiet": 0.2}
    assert [card.config["margins"][name]["scale"] for name in ("calm", "quiet")] == [1.0, 0.25]
    assert json.loads(figures.read_text())["figures"]["margins"] == card.figures["margins"]
    assert load_language_policy(tmp_path / "out").name == "lively"
    # A policy for one weighting is a margin for another; the same command finds it finished.
    assert load_reward(f"closed-form:{tmp_path / 'out'}").name == "lively closed form"
    assert run(*asked) == 0
    assert capsys.readouterr().out.splitlines()[1:3] == told[1:3]


def test_ties_have_no_label_to_agree_with(run, command, made, tmp_path, capsys):
    pairs = load_pairs(made / "lively.jsonl", "lively")
    write_records(tmp_path / "ties.jsonl", "pairs", [replace(pair, weight=0.5) for pair in pairs])
    asked = command([f"calm={made / 'bradley-terry-calm'}"], "lively=0.5,calm=0.5")
    assert run(*asked, "--data", tmp_path / "ties.jsonl") == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("calm: spread ")


def log_prob(backbone, prompt, completion):
    """Of the completion with its end-of-text token, by one plain forward pass."""
    first, rest = (
        backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion)
    )
    ids = torch.tensor([[*first, *rest, backbone.tokenizer.eos_token_id]])
    with torch.no_grad():
        log_probs = backbone.model(ids).logits[0, :-1].log_softmax(-1)
    return log_probs.gather(1, ids[0, 1:, None])[len(first) - 1 :].sum()


def test_a_policys_margin_is_its_implicit_reward(run, command, made, tmp_path):
    assert run(*command([f"calm=closed-form:{made / 'dpo-calm'}"], "lively=0.5,calm=0.5")) == 0
    before, after = load_backbone("tiny-random"), load_language_policy(made / "dpo-calm")
    pairs = [p for p in load_pairs(made / "lively.jsonl", "lively") if p.split == "train"]
    expected = [
        [
            (log_prob(after, *text) - log_prob(before, *text)).item()
            for text in ((s.decision.prompt, s.decision.options[s.action]) for s in halves)
        ]
        for halves in ((pair.chosen.steps[0], pair.rejected.steps[0]) for pair in pairs)
    ]
    kept = json.loads((tmp_path / "out" / "checkpoints" / "margin-1.jsonl").read_text())["rewards"]
    torch.testing.assert_close(torch.tensor(kept), torch.tensor(expected), atol=1e-4, rtol=1e-4)
    # The temperature that it was trained with makes a reward of it.
    assert load_card(tmp_path / "out").config["margins"]["calm"]["scale"] == 0.25


def test_the_closed_form_of_other_methods_is_taken_as_it_stands(run, command, made, tmp_path):
    assert run(*command([f"calm=closed-form:{made / 'sft-calm'}"], "lively=0.5,calm=0.5")) == 0
    assert load_card(tmp_path / "out").config["margins"]["calm"]["scale"] == 1.0


def test_with_all_the_weight_on_its_own_objective_it_is_dpo(run, command, made, tmp_path):
    assert run(*command([f"calm={made / 'bradley-terry-calm'}"], "lively=1,calm=0")) == 0
    one, other = (load_file(d / "trunk.safetensors") for d in (tmp_path / "out", made / "dpo-lively"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_it_refuses_in_one_line(refuses, run, command, made, tmp_path):
    calm = f"calm={made / 'bradley-terry-calm'}"
    assert "unknown objective 'kind'; known: calm, lively" in refuses(*command([calm], "lively=0.5,kind=0.5"))
    assert "unknown objective 'quiet'" in refuses(*command([calm], "lively=0.5,calm=0.3,quiet=0.2"))
    assert "no weight for 'calm'" in refuses(*command([calm], "lively=1"))
    assert "'lively' is what the pairs are about; its weight must be above 0" in refuses(
        *command([calm], "lively=0,calm=1")
    )
    assert "must sum to 1, found 0.9" in refuses(*command([calm], "lively=0.5,calm=0.4"))
    assert "expected NAME=NUMBER" in refuses(*command([calm], "lively,calm"))
    assert "expected NAME=REWARD" in refuses(*command([str(made / "dpo-calm")], "lively=0.5,calm=0.5"))
    assert "'lively' is what the pairs are about" in refuses(*command([f"lively={made}"], "lively=1"))
    told = refuses(*command([f"calm={made / 'dpo-calm'}"], "lively=0.5,calm=0.5"))
    assert "is a policy; its reward is closed-form:" in told
    assert "no such" in refuses(*command(["calm=closed-form:./nowhere"], "lively=0.5,calm=0.5"))
    assert not (tmp_path / "out").exists()
    assert run(*command([calm], "lively=0.5,calm=0.5")) == 0
    told = refuses(*command([calm], "lively=0.6,calm=0.4"))
    assert "holds another run" in told
    assert "weights.lively was 0.5, is 0.6" in told
