"""`learn cpl --joint`: files of pairs of several objectives, and a folder for each policy."""

from dataclasses import replace

import pytest

from pluralign.cli.learn import OptionRun, learn_cpl
from pluralign.core import Decision, InputError, PreferencePair, Segment, Step
from pluralign.core.records import write_records
from pluralign.learn.options.cpl import CPLConfig
from pluralign.options.open import Models, load_agents

DECISIONS = [Decision(f"Door {i}.", ("Open it", "Walk on")) for i in range(4)]
CONFIG = CPLConfig(steps=10, batch_size=4, hidden=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pairs of two objectives that prefer different options, a third of them for validation."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, best in (("bold", 0), ("calm", 1)):
        pairs = [
            PreferencePair(
                *(Segment(f"{i}-{action}", 0, (Step(decision, action),)) for action in (best, 1 - best)),
                name, split="train" if i % 3 else "validation",
            )
            for i, decision in enumerate(3 * DECISIONS)
        ]  # fmt: skip
        write_records(folder / f"{name}.jsonl", "pairs", pairs)
    return folder


def test_policies_of_several_objectives_are_learned_together(files, tmp_path, capsys):
    run = OptionRun(files / "bold.jsonl", tmp_path / "both", "tiny-random", files / "features")
    for _ in range(2):
        told = learn_cpl(run, CONFIG, joint=(files / "calm.jsonl",), gradients="guided")
    assert set(told) == {"bold", "calm"}
    assert told["calm"]["data"]["objectives"]["bold"]["file"] == "bold.jsonl"
    assert told["calm"]["data"]["validation_pairs"] == 4
    assert "gradient conflicts" in capsys.readouterr().out
    folders = {name: tmp_path / "both" / name for name in told}
    opened = load_agents(folders, Models("tiny-random", files / "features"))
    bold, calm = (
        sum(row[0] - row[1] for row in opened[name].log_probs(DECISIONS)) for name in ("bold", "calm")
    )
    assert bold > calm


def test_what_cannot_be_learned_together_is_refused(files, tmp_path):
    run = OptionRun(files / "bold.jsonl", tmp_path / "out", "tiny-random", files / "features")
    again, calm = (files / "bold.jsonl",), (files / "calm.jsonl",)
    with pytest.raises(InputError, match="give --joint") as error:
        learn_cpl(run, CONFIG, gradients="min_norm")
    assert error.value.field == "gradients"
    with pytest.raises(InputError, match="has pairs of 'bold', as another file has"):
        learn_cpl(run, CONFIG, joint=again)
    with pytest.raises(InputError, match="is that of one objective"):
        learn_cpl(run, replace(CONFIG, kl=True), reference=tmp_path, joint=calm)
    with pytest.raises(InputError, match="frozen trunk only"):
        learn_cpl(run, replace(CONFIG, lora_rank=1), joint=calm)
    assert not (tmp_path / "out").exists()
