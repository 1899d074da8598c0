import logging

import numpy as np
import pytest

from pluralign.core import Decision
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.lm.language_model import LanguageModel
from pluralign.options import features as module
from pluralign.options.features import FeatureStore

DECISIONS = [
    Decision(f"Room {i}. " + "It is dark. " * (i % 5), tuple(f"Take door {j}" for j in range(1 + i % 4)))
    for i in range(12)
]


@pytest.fixture(scope="module")
def backbone():
    return make_tiny_backbone()


@pytest.fixture
def passes(monkeypatch):
    """Counts the branches that run through the trunk."""
    seen = []
    original = module.forest_layers

    def counted(model, forest, layers):
        seen.extend(forest.owners.tolist())
        return original(model, forest, layers)

    monkeypatch.setattr(module, "forest_layers", counted)
    return seen


def _assert_same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.features, b.features, **tolerance)
        np.testing.assert_allclose(a.log_likelihoods, b.log_likelihoods, **tolerance)
        np.testing.assert_array_equal(a.lengths, b.lengths)


def test_each_distinct_decision_is_computed_once(backbone, passes):
    store = FeatureStore(backbone)
    store.get([*DECISIONS, *DECISIONS[:3]])
    assert len(passes) == sum(len(decision.options) for decision in DECISIONS)
    store.get([Decision(DECISIONS[0].prompt, DECISIONS[0].options)])
    assert len(passes) == sum(len(decision.options) for decision in DECISIONS)
    assert len(store) == len(DECISIONS)
    assert store.get([]) == []


def test_shapes_and_likelihoods(backbone):
    store = FeatureStore(backbone, token_budget=100)
    entries = store.get(DECISIONS)
    likelihoods = LanguageModel(backbone).option_log_likelihoods(DECISIONS)
    for decision, entry, expected in zip(DECISIONS, entries, likelihoods, strict=True):
        assert entry.features.shape == (len(decision.options), store.dimension)
        assert entry.features.dtype == np.float32
        np.testing.assert_allclose(entry.log_likelihoods, expected.log_likelihoods, atol=1e-4)
        np.testing.assert_array_equal(entry.lengths, expected.lengths)


def test_batches_do_not_matter(backbone):
    small, large = FeatureStore(backbone, token_budget=1), FeatureStore(backbone)
    _assert_same(small.get(DECISIONS), large.get(DECISIONS), atol=1e-4)


def test_another_process_reads_what_was_written(backbone, tmp_path, passes):
    first = FeatureStore(backbone, tmp_path)
    expected = first.get(DECISIONS)
    first.flush()
    passes.clear()
    _assert_same(FeatureStore(backbone, tmp_path).get(DECISIONS), expected, atol=0, rtol=0)
    assert passes == []


def test_what_is_waiting_is_written_when_the_store_goes(backbone, tmp_path, passes):
    store = FeatureStore(backbone, tmp_path)
    store.get(DECISIONS)
    del store
    passes.clear()
    FeatureStore(backbone, tmp_path).get(DECISIONS)
    assert passes == []


def test_backbones_do_not_mix(backbone, tmp_path, passes):
    store = FeatureStore(backbone, tmp_path)
    store.get(DECISIONS)
    store.flush()
    passes.clear()
    other = FeatureStore(make_tiny_backbone(1), tmp_path)
    assert len(other) == 0
    assert other.fingerprint != store.fingerprint


@pytest.mark.parametrize("damage", ["truncated", "not a shard", "empty"])
def test_a_damaged_shard_is_computed_again(backbone, tmp_path, damage, caplog):
    first = FeatureStore(backbone, tmp_path)
    expected = first.get(DECISIONS)
    first.flush()
    (shard,) = tmp_path.rglob("*.safetensors")
    content = shard.read_bytes()
    shard.write_bytes({"truncated": content[:-9], "not a shard": b"x" * 500, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        store = FeatureStore(backbone, tmp_path)
    assert "damaged shard" in caplog.text
    assert len(store) == 0
    _assert_same(store.get(DECISIONS), expected, atol=0, rtol=0)
    store.flush()
    assert len(FeatureStore(backbone, tmp_path)) == len(DECISIONS)


def test_over_long_prompts_are_counted(backbone):
    store = FeatureStore(backbone)
    store.get([Decision("x" * 5000, ("a", "b"))])
    assert store.cut_tokens == 5000 + len("\n\nMy choice:") + len(" a") - 4096


@pytest.mark.slow
def test_smollm2_in_bfloat16_hardly_depends_on_the_batch():
    backbone = load_backbone("smollm2-135m")
    together = FeatureStore(backbone).get(DECISIONS)
    apart = [FeatureStore(backbone).get([decision])[0] for decision in DECISIONS]
    for a, b in zip(together, apart, strict=True):
        scale = np.abs(a.features).mean()
        assert np.abs(a.features - b.features).mean() < 0.05 * scale
        np.testing.assert_allclose(a.log_likelihoods, b.log_likelihoods, atol=0.3)
