"""Qualities that a program measures, and policies that are ranked by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.lm.backbone import load_tokenizer

Script = Callable[[str], ModuleType]


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        (
            "cheerful",
            "What a wonderful, happy day! I love it.",
            "That is a terrible, sad disaster. I hate it.",
        ),
        ("plain", "You can put it in the box at home.", "Reconstitution necessitates hermetic containment."),
        ("asking", "Do you like it? What would you change?", "You like it. You would change nothing."),
        (
            "addressing",
            "You can use your own key. Try it before you leave.",
            "A key opens the door of the house, as it always has.",
        ),
        ("brief", "Yes.", "Yes, that is right. It has been so for a long time. Nobody knows why."),
    ],
)
def test_both_instruments_agree_on_clear_cases(script: Script, name: str, more: str, less: str) -> None:
    script("ranked_samples")

    from measured_lib.measures import QUALITIES

    for _, measure in (QUALITIES[name].first, QUALITIES[name].second):
        assert measure(more) > measure(less)
        assert measure("") == measure("")


def test_prompts_are_questions_in_disjoint_parts(script: Script, data: Path) -> None:
    script("ranked_samples")
    from measured_lib.prompts import divided, questions

    known = questions(data)
    assert known
    assert all(one.endswith("?") and len(one) <= 160 for one in known)
    tokenizer = load_tokenizer("tiny-random")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    first, second = divided(data, tokenizer, (2, 1), seed=1)
    assert (len(first), len(second)) == (2, 1)
    assert not set(first) & set(second)
    assert divided(data, tokenizer, (2, 1), seed=1) == (first, second)
    with pytest.raises(InputError, match="expected 9000 questions or more"):
        divided(data, tokenizer, (9000,), seed=1)


def test_policies_are_ranked_by_a_program(
    script: Script, tmp_path: Path, data: Path, three_layers: str
) -> None:
    ranked = script("ranked_samples")
    sizes = ranked.data.Sizes(tests=2, value_prompts=8, value_samples=3)
    settings = ranked.Settings(
        data, tmp_path / "w", seeds=(1,), model=three_layers, measures=("brief",), sizes=sizes,
        learning_rate=1e-2, strengths=(1.0,), samples=2, tokens=8, temperature=0.7, bf16=False,
        results=tmp_path / "r",
    )  # fmt: skip
    ranked.main(settings)
    of = read_json(tmp_path / "r" / "measured_ranked_samples.json")["1"]["objectives"]["brief"]
    for row in of["methods"].values():
        # Numbers of words, with a minus sign.
        assert -9 <= row["points"][1]["rewards"]["mean"] <= 0


def test_a_rule_and_a_value_model_guide_blocks(
    script: Script, tmp_path: Path, data: Path, three_layers: str
) -> None:
    guidance = script("block_guidance")
    assert [guidance.follows(text) for text in ("Yes.", "Yes. ", "Yes", f"{'a ' * 25}b.")] == [
        True, True, False, False
    ]  # fmt: skip
    draft = guidance.Draft("", "Yes.", False, (), (1,), 0)
    assert guidance.rule(draft) == 0.5
    # A random model ends no sentence: its rule is an odd length.
    guidance.follows = lambda text: len(text) % 2 == 1
    settings = guidance.Settings(
        data, tmp_path / "w", seeds=(1, 2), model=three_layers, draws=(2,), trained=5,
        samples=4, tests=2, tokens=6, results=tmp_path / "r",
    )  # fmt: skip
    guidance.run(settings)
    found = read_json(tmp_path / "r" / "block_guidance.json")
    sides = {(cell["side"], cell["draws"]): cell for cell in found["cells"]}
    assert len(sides) == 4
    assert sides["plain", 1]["drawn"] == sides["plain", 1]["kept"]
    assert sides["rule", 2]["drawn"] > sides["rule", 2]["kept"]
    assert len(found["differences"]) == 2


def test_policies_for_a_weighting(script: Script, tmp_path: Path, data: Path, three_layers: str) -> None:
    rl = script("rl_text")
    config = rl.RLConfig(rounds=1, prompts=4, samples=4, max_new_tokens=6, temperature=0.7, kl=0.0)
    # A random model's words have no mood.
    rl.REWARDS["cheerful"] = lambda prompts, texts: [float(len(text)) for text in texts]
    settings = rl.Settings(
        data, tmp_path / "w", seeds=(1, 2), model=three_layers, weights=(0.3,), prompts=16, tests=2,
        answers=2, learning_rate=1e-2, lora_rank=2, batch_size=8, config=config, results=tmp_path / "r",
    )  # fmt: skip
    rl.run(settings)
    found = read_json(tmp_path / "r" / "rl_text.json")
    assert [(row["seed"], row["way"]) for row in found["table"]] == [
        (seed, way) for seed in (1, 2) for way in rl.COMBINATIONS
    ]
    for seed in (1, 2):
        own = [row for row in found["table"] if row["seed"] == seed]
        assert {row["reach"] for row in own} == {min(row["kl"] for row in own)}
    gap = found["differences"]["DVAO"]["kl"]
    kls = [[row["kl"] for row in found["table"] if row["way"] == way] for way in ("DVAO", "weighted sum")]
    assert gap["mean"] == pytest.approx(sum(kls[0]) / 2 - sum(kls[1]) / 2, abs=1e-4)
    assert "| DVAO |" in (tmp_path / "r" / "rl_text.md").read_text()
