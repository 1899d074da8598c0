"""Files of tensors, in the safetensors format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole

_safetensors: Any = safetensors.torch
_safe_open: Any = safetensors.safe_open


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
