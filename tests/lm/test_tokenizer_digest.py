"""Tokenizers with one vocabulary are told apart by how they split texts."""

import numpy as np
import pytest
from tokenizers.normalizers import Lowercase

import pluralign as pl
from pluralign.core import Decision, InputError
from pluralign.core.files import read_json, write_json
from pluralign.learn.texts.policies import fit_policy
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.options.features import FeatureStore
from pluralign.steer.policies import load_policies

ROWS = [{"prompt": f"Say {i}:", "chosen": " Yes", "rejected": " No"} for i in range(8)]


@pytest.fixture
def model(tmp_path):
    """Writes a model with one vocabulary and an edited tokenizer, at the same place every time."""

    def write(edit=None):
        tiny = make_tiny_backbone()
        tiny.model.save_pretrained(tmp_path / "model")
        if edit is not None:
            edit(tiny.tokenizer.backend_tokenizer)
        tiny.tokenizer.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return write


def lower(tokenizer):
    tokenizer.normalizer = Lowercase()


def test_tokenizers_of_one_vocabulary_have_digests_of_their_own(model):
    plain, same, other = (load_backbone(model(edit)) for edit in (None, None, lower))
    assert plain.fingerprint == other.fingerprint
    assert plain.tokenizer_digest == same.tokenizer_digest != other.tokenizer_digest
    # Equal in every process and with every version of the libraries: cards record it.
    assert plain.tokenizer_digest == "1f9b9ce2f33b3519"


def test_a_policy_is_not_used_with_another_tokenizer(model, tmp_path):
    pairs = pl.load_pairs(ROWS, objective="agreement")
    base, out = model(), tmp_path / "policy"
    fit_policy(pairs, model=base, out=out)
    card = read_json(out / "card.json")
    load_policies(base, {"yes": out, "base": base})
    model(lower)
    with pytest.raises(InputError, match="splits texts otherwise"):
        pl.load_reward(f"closed-form:{out}")
    with pytest.raises(InputError, match="splits texts otherwise"):
        load_policies(base, {"yes": out, "base": base})
    with pytest.raises(InputError, match=r"holds another run \(backbone.tokenizer was"):
        fit_policy(pairs, model=base, out=out)
    # Version 0.1 recorded no tokenizer.
    record = read_json(out / "checkpoints/run.json")
    write_json(out / "checkpoints/run.json", {k: v for k, v in record.items() if k != "backbone.tokenizer"})
    del card["backbone"]["tokenizer"]
    write_json(out / "card.json", card)
    load_policies(base, {"yes": out, "base": base})
    model()
    assert fit_policy(pairs, model=base, out=out).fingerprint


def test_features_are_those_of_one_tokenizer(model, tmp_path):
    decision, cache = Decision("Which?", ("Aye", "No")), tmp_path / "features"

    def features(edit=None):
        store = FeatureStore(load_backbone(model(edit)), cache)
        known = len(store)
        found = store.get([decision])[0].features
        store.flush()
        return known, found

    plain, other, again = features(), features(lower), features()
    assert (plain[0], other[0], again[0]) == (0, 0, 1)
    assert np.array_equal(plain[1], again[1])
    assert not np.array_equal(plain[1], other[1])
    # What version 0.1 wrote is read.
    for record in cache.glob("*/tokenizer"):
        record.unlink()
    assert features()[0] == 1
