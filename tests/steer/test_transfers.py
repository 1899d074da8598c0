"""A step of decoding exchanges as much with the device for many requests as for a few."""

import warnings
from collections import Counter

import pytest
import torch
from adapters import adapted
from torch.utils._python_dispatch import TorchDispatchMode

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC
from pluralign.steer.requests import Request

# Tensors that are made from the host's data or read by the host.
EXCHANGES = (
    "aten::lift_fresh", "aten::_to_copy", "aten::item", "aten::_local_scalar_dense", "aten::is_nonzero",
    "aten::nonzero",
)  # fmt: skip


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def rows(tmp_path):
    folders = {name: tmp_path / name for name in ("one", "two")}
    for seed, folder in enumerate(folders.values()):
        save_adapter(adapted(seed), folder)
    return AdapterRows(load_backbone("tiny-random"), folders)


def started(rows, power, count):
    """A decoder of requests with different prompts, mixtures and sampling settings, after two tokens."""
    decoder = MixtureDecoder(rows, power)
    decoder.admit(
        [
            Request(
                list(range(5, 9 + i)), SteeringWeights(one=0.25, two=0.75),
                Decoding(20, 1.0 - i % 3 / 10, top_p=1.0 - i % 2 / 10, top_k=i % 4), seed=i,
            )
            for i in range(1, count + 1)
        ]
    )  # fmt: skip
    decoder.step()
    assert len(decoder.running) == count
    return decoder


@pytest.mark.parametrize("power", [GEOMETRIC, ARITHMETIC])
def test_a_step_makes_the_same_exchanges_for_any_number_of_requests(rows, power, monkeypatch):
    read, found = [], {}
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda one, tolist=torch.Tensor.tolist: read.append(one.shape) or tolist(one)
    )
    for count in (4, 9):
        decoder = started(rows, power, count)
        read.clear()
        with Operations() as seen:
            events = decoder.step()
        assert len(events) == count
        # The chosen tokens, all in one tensor.
        assert read == [(count,)]
        found[count] = seen.counts
        decoder.release(set(decoder.running))
    assert {name: found[4][name] for name in EXCHANGES} == {name: found[9][name] for name in EXCHANGES}
    # No operation is repeated for each request, either.
    assert found[4].total() == found[9].total()


@pytest.mark.gpu
@pytest.mark.parametrize("power", [GEOMETRIC, ARITHMETIC])
def test_a_step_waits_for_the_gpu_as_often_for_many_requests(tmp_path, power):
    folders = {name: tmp_path / name for name in ("one", "two")}
    for seed, folder in enumerate(folders.values()):
        save_adapter(adapted(seed), folder)
    decoders = {}
    for count in (4, 9):
        backbone = load_backbone("tiny-random")
        backbone.model.to("cuda")
        decoders[count] = started(AdapterRows(backbone, folders), power, count)
    waits = {}
    for count, decoder in decoders.items():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            decoder.step()
            torch.cuda.set_sync_debug_mode("default")
        waits[count] = [str(one.message) for one in seen if "called a synch" in str(one.message)]
    # The new token ids go there, and the chosen ones come back.
    assert len(waits[4]) == len(waits[9]) == 2
