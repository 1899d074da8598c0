"""Folders are known by all that changes what they do."""

import json

from pluralign.folders.card import content_digest
from pluralign.lm.adapter_check import CONFIG, TENSORS


def test_an_adapter_is_known_by_its_settings_as_well(tmp_path):
    def digest(**settings):
        (tmp_path / CONFIG).write_text(json.dumps({"r": 8, **settings}))
        return content_digest(tmp_path)

    (tmp_path / TENSORS).write_bytes(b"weights")
    found = [digest(lora_alpha=16), digest(lora_alpha=32), digest(lora_alpha=16, use_rslora=True)]
    (tmp_path / TENSORS).write_bytes(b"others")
    found.append(digest(lora_alpha=16))
    assert len({json.dumps(one) for one in found}) == 4
    assert digest(lora_alpha=16) == found[3]
