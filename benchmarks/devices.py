"""The device of a measurement: what it and its software are called, when its work is done, and its memory."""

from __future__ import annotations

import gc
import importlib.metadata
import platform
import resource
import shutil
import subprocess
import time
from typing import Any

import torch

from pluralign.lm.device import default_device

PACKAGES = ("pluralign", "torch", "transformers", "peft", "trl", "accelerate")


def on_gpu() -> bool:
    """Whether the default device is a GPU (CUDA)."""
    return default_device().type == "cuda"


def seconds() -> float:
    """Wall-clock time in seconds, when the GPU has done what it was asked for."""
    if on_gpu():
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_memory() -> None:
    """Free unused memory, and let the GPU's peak begin again."""
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Largest memory so far in bytes: of tensors on the GPU, or resident memory of this process.

    Files that are mapped into memory count as resident.
    """
    if on_gpu():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe_machine() -> dict[str, Any]:
    """Names of the device and the driver, and versions of the software."""
    versions = dict[str, str | None]()
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    found: dict[str, Any] = {"device": default_device().type, "python": platform.python_version()}
    if on_gpu():
        properties = torch.cuda.get_device_properties(default_device())
        found |= {"name": properties.name, "memory": properties.total_memory, "driver": _driver()}
        found["cuda"] = torch.version.cuda
    else:
        found |= {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    return found | {"versions": versions}


def _driver() -> str | None:
    """Version of NVIDIA's driver; None where its tool is missing."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return lines[0] if lines else None
