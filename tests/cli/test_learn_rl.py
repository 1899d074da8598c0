"""`learn rl` as a person would use it, with two reward models on a tiny trunk."""

import json

import pytest
from json_lines import write

from pluralign.folders.tuned import load_language_policy

WORDS = [f"{a}{b}" for a in "abcd" for b in "efgh"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    import pluralign as pl

    made = tmp_path_factory.mktemp("made")
    heads = pl.Training(layers=0, bf16=False)
    for name, (good, bad) in {"lively": ("!", "."), "calm": (".", "!")}.items():
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}{good}", "rejected": f" {w}{bad}"} for w in WORDS]
        pl.fit_reward(pl.load_pairs(rows, name), model="tiny-random", training=heads, out=made / name)
    write(made / "prompts.jsonl", [{"prompt": f"Say {w}:"} for w in WORDS])
    return made


@pytest.fixture
def command(made, tmp_path):
    return (
        "learn", "rl", "--prompts", made / "prompts.jsonl", "--model", "tiny-random", "--out",
        tmp_path / "out", "--rewards", f"lively={made / 'lively'}", f"calm={made / 'calm'}",
        "--training.bf16", "False", "--training.lora-rank", 2, "--training.batch-size", 16,
        "--config.rounds", 2, "--config.prompts", 8, "--config.samples", 4, "--config.max-new-tokens", 3,
    )  # fmt: skip


def test_it_writes_a_policy_and_reports_the_rounds(run, command, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    more = ("--weights", "lively=0.7,calm=0.3", "--config.combine", "variance", "--json", figures)
    assert run(*command, *more) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("16 prompts of")
    assert lines[1].split() == ["lively", "calm", "kl", "weight", "lively", "weight", "calm", "samples"]
    assert [line.split()[:2] for line in lines[2:5]] == [["round", str(i)] for i in range(3)]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["method"], card["config"]["combine"]) == ("rl", "dvao")
    assert card["data"]["rewards"]["calm"]["digest"]
    assert json.loads(figures.read_text())["figures"]["rounds"] == card["figures"]["rounds"]
    assert load_language_policy(tmp_path / "out").name == "rl"
    # The same command finds it finished; other weights are another run.
    assert run(*command, *more) == 0
    assert capsys.readouterr().out.splitlines()[1:5] == lines[1:5]
    assert run(*command, "--weights", "lively=0.6,calm=0.4", "--config.combine", "variance") == 2
    assert "config.weighting.weights.lively was 0.7, is 0.6" in capsys.readouterr().err


def test_weights_can_depend_on_the_prompt(run, command, tmp_path, capsys):
    from pluralign.folders.card import Card
    from pluralign.folders.tuned import describe_backbone
    from pluralign.lm.backbone import load_backbone
    from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead

    backbone = load_backbone("tiny-random")
    head = WeightsHead(backbone.hidden_size, 2)
    head.linear.bias.data[0] = 1.0
    card = Card("weights", backbone=describe_backbone(backbone))
    PromptWeights(backbone, head, ("calm", "lively"), card=card).save(tmp_path / "suggest")
    auto = ("--weights", f"auto:{tmp_path / 'suggest'}")
    assert run(*command, *auto) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["calm", "lively"]
    assert lines[3].split()[5:7] == ["0.731", "0.269"]
    assert run(*command, *auto, "--config.adapt", "influence") == 2
    assert "depend on the prompt" in capsys.readouterr().err
    head.linear.bias.data[0] = 2.0
    PromptWeights(backbone, head, ("calm", "lively"), card=card).save(tmp_path / "suggest")
    assert run(*command, *auto) == 2
    assert "config.weighting.source was" in capsys.readouterr().err


def test_targets_have_multipliers(run, command, capsys):
    assert run(*command, "--at-least", "calm=+9sd", "--config.rate", 0.5) == 0
    told = capsys.readouterr().out
    assert "multipliers of standardised rewards (averages): lively 0, calm " in told
    assert "the target on calm is missed by" in told


def test_it_refuses_in_one_line(refuses, command, tmp_path):
    def told(*options):
        return refuses(*command, *options)

    weights = ("--weights", "lively=0.5,calm=0.5")
    assert "give weights, or a target" in told()
    assert "reward_combination cancels the factor of weights by hypervolume" in told(
        *weights, "--config.combine", "group", "--config.adapt", "hypervolume"
    )
    assert "cancels multipliers" in told(
        "--at-least", "calm=+1sd", "--config.combine", "each", "--config.kl", 0
    )
    assert "'tail': expected LOW,HIGH" in told(*weights, "--config.tail", "0.2")
    assert "'high': must be from low" in told(*weights, "--config.tail", "0.8,0.2")
    assert "'adapt': targets move" in told(*weights, "--at-least", "calm=+1sd", "--config.adapt", "influence")
    assert "unknown objective 'kind'" in told("--weights", "kind=1")
    assert "'kind' has no reward" in told("--at-least", "kind=1")
    assert "'exactly': expected a number" in told("--exactly", "calm=high")
    assert "dial.json" in told("--weights", f"auto:{tmp_path}")
    assert not (tmp_path / "out").exists()
