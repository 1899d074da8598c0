"""A folder of random heads on the tiny model."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pluralign.folders.card import Card, write_folder
from pluralign.folders.heads import HEADS, KIND, head_tensors
from pluralign.folders.tuned import describe_backbone
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.head_change import HeadChange, make_change
from pluralign.lm.tensors import seeded


def random_heads(backbone: Backbone, names: Sequence[str]) -> dict[str, HeadChange]:
    """Heads that change what the model says."""
    with seeded(0):
        heads = {name: make_change(backbone.model, 4) for name in names}
        for head in heads.values():
            nn.init.normal_(head.up, std=0.5)
    return heads


def write_heads(out: Path, names: Sequence[str]) -> Path:
    """Write heads of these objectives, as ``learn mah-dpo`` does."""
    backbone = load_backbone("tiny-random")
    card = Card("mah-dpo", backbone=describe_backbone(backbone))
    content = {"name": "heads", "objectives": list(names), "template": "dialogue"}
    write_folder(out, KIND, card, content, {HEADS: head_tensors(random_heads(backbone, names))})
    return out
