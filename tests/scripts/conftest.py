"""The scripts as modules, and what they need to run in seconds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from small_data import write_data
from transformers import AutoModelForCausalLM, LlamaConfig

from pluralign.lm.tensors import seeded
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

ROOT = Path(__file__).parents[2]
Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """A script of experiments/ or benchmarks/ by its name, as a module."""

    def imported(name: str) -> ModuleType:
        for folder in ("experiments", "benchmarks"):
            if (ROOT / folder / f"{name}.py").is_file():
                monkeypatch.syspath_prepend(ROOT / folder)
                # A module that a test changed is not handed to the next one.
                monkeypatch.delitem(sys.modules, name, raising=False)
                return importlib.import_module(name)
        raise AssertionError(f"no script is called {name}")

    return imported


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small made-up files in the form of the data sets."""
    return write_data(tmp_path_factory.mktemp("data"), rows=60)


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of features: what the experiments ask the tiny model about a story, it is asked once."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def three_layers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model with more layers than the experiments train here."""
    folder = tmp_path_factory.mktemp("model")
    config = LlamaConfig(**{**make_tiny_model().config.to_dict(), "num_hidden_layers": 3})
    with seeded(0):
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return str(folder)
