"""The comparison of losses on ranked samples: it runs, and rewards are interpolated at equal KL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pluralign.core.files import read_json
from pluralign.lm.backbone import load_backbone

Script = Callable[[str], ModuleType]


def test_it_runs(script: Script, tmp_path: Path, data: Path, three_layers: str) -> None:
    ranked = script("ranked_samples")
    sizes = ranked.data.Sizes(pairs=6, reward_pairs=6, tests=4, value_prompts=6, value_samples=3)
    settings = ranked.Settings(
        data, tmp_path / "w", seeds=(1,), model=three_layers, objectives=("harmless",), sizes=sizes,
        learning_rate=1e-2, reward_layers=2, strengths=(0.5, 1.0), samples=2, tokens=4,
        results=tmp_path / "r",
    )  # fmt: skip
    ranked.main(settings)
    of = read_json(tmp_path / "r" / "ranked_samples.json")["1"]["objectives"]["harmless"]
    assert list(of["methods"]) == list(ranked.METHODS)
    for row in of["methods"].values():
        assert [point["strength"] for point in row["points"]] == [0, 0.5, 1]
        # The base model is no distance from itself.
        assert row["points"][0]["kl"]["mean"] == pytest.approx(0, abs=1e-4)
    assert len(of["compared"]) == 8
    assert "lead over best against worst" in (tmp_path / "r" / "ranked_samples.md").read_text()


def test_methods_are_compared_at_the_largest_kl_that_all_reach(script: Script) -> None:
    script("ranked_samples")
    from ranked_samples_lib.report import compared, rewards_at

    def curve(*points: tuple[float, float]) -> list[dict[str, list[float]]]:
        return [{"kl": [kl, kl], "rewards": [reward, reward + 1]} for kl, reward in points]

    near, far = curve((0, 0), (1, 4), (2, 6)), curve((0, 0), (4, 8))
    assert rewards_at(near, 1.5).tolist() == [5, 6]
    rows = compared({"one": {"points": near}, "two": {"points": far}})
    assert [(row["kl"], row["gain"]["mean"]) for row in rows] == [(2, 6), (2, 4), (1, 4), (1, 2)]
    assert rows[0]["lead"] is None
    assert rows[1]["lead"]["mean"] == -2
    assert compared({"one": {"points": near}, "two": {"points": curve((0, 0), (0, 1))}}) == []


def test_the_divergence_is_that_of_next_tokens(script: Script) -> None:
    script("ranked_samples")
    import torch
    from ranked_samples_lib.divergence import divergences

    base, policy = (load_backbone("tiny-random") for _ in range(2))
    head = policy.model.get_output_embeddings().weight
    with torch.no_grad():
        head.copy_(head * 3)
    ids = torch.tensor([base.tokenizer("Say:", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        own, other = (one.model(ids).logits[0, -1].log_softmax(-1) for one in (policy, base))
    expected = float((own.exp() * (own - other)).sum())
    # With one token, the whole divergence is that of the first step.
    for text in ("a", "b c", ""):
        assert divergences(policy, base, {"Say:": [text]}, 1) == [pytest.approx(expected, rel=1e-4)]
    more, fewer = (divergences(policy, base, {"Say:": ["b c"]}, tokens)[0] for tokens in (9, 2))
    assert more > fewer > expected > 0
    assert divergences(base, base, {"Say:": ["b c"]}, 9) == [pytest.approx(0, abs=1e-6)]
