"""Files of tensors, in the safetensors format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole

_safetensors: Any = safetensors.torch
_safe_open: Any = safetensors.safe_open
Module = TypeVar("Module", bound=nn.Module)


def filled(
    make: Callable[[], Module], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> Module:
    """A module with these weights. No initial ones are drawn, so that the caller's random numbers stay as
    they are.

    Args:
        make: Makes the module.
        tensors: Its weights, by name.
        dtype: Their floating-point type in it.

    Raises:
        RuntimeError: They are the weights of another module.
    """
    with torch.device("meta"):
        module = make()
    # PyTorch's annotations leave the type of this method open.
    loaded: Any = module
    # Tensors of a file lie where it has them, and the last bits of products depend on their alignment.
    own = {name: one.clone(memory_format=torch.contiguous_format) for name, one in tensors.items()}
    loaded.load_state_dict(own, assign=True)
    return loaded.to(dtype=dtype)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file, by name.

    Raises:
        InputError: The file is not a safetensors file.
    """
    try:
        return _safetensors.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"holds no tensors: {str(error).splitlines()[0]}", path=path) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Texts in the header of a file of tensors, by name.

    Raises:
        InputError: The file is not a safetensors file.
    """
    try:
        with _safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"holds no tensors: {str(error).splitlines()[0]}", path=path) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a file of tensors, completely or not at all.

    Args:
        path: Output file.
        tensors: Tensors by name.
        metadata: Texts by name, for the file's header.

    Raises:
        InputError: The file cannot be written.
    """
    with replace_when_whole(path) as temporary:
        values = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
        _safetensors.save_file(values, temporary, metadata)
