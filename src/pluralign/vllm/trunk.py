"""The files of the model that vLLM loads, and the template of conversations."""

from __future__ import annotations

from pathlib import Path

from pluralign.lm.pretrained import SMOLLM2, smollm2_folder


def model_files(model: str) -> str:
    """The folder or hub id under which vLLM finds a model."""
    return str(smollm2_folder()) if model == SMOLLM2 else str(model)


def dialogue_template() -> Path:
    """The file of the template "dialogue" in the form of vLLM's ``--chat-template``."""
    return Path(__file__).with_name("dialogue.jinja")
