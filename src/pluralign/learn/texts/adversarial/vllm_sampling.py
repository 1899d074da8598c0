"""Sampling of a policy gradient by vLLM, through TRL's own integration."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from pluralign.core import InputError
from pluralign.core.checks import require

Mode = Literal["off", "server", "colocate"]
_MODE_OF = {
    "group_port": "server", "timeout": "server",
    "memory": "colocate", "max_length": "colocate", "tensor_parallel": "colocate",
}  # fmt: skip
"""The mode that each option is for."""


@dataclass(frozen=True)
class VLLMSampling:
    """vLLM as the sampler of a policy gradient; TRL sends it the policy's weights after each step.

    Requires CUDA, and a version of vLLM that the installed TRL supports.

    Args:
        mode: Place of vLLM: ``server`` (``vllm serve`` on other GPUs), ``colocate`` (in this process), or
            ``off``.
        url: URL of the server.
        group_port: Port on which the server receives weights.
        timeout: Seconds to wait until the server is up.
        memory: Share of the GPU's memory that vLLM uses in this process.
        max_length: Largest number of tokens of a prompt and its completion in this process; by default the
            model's context.
        tensor_parallel: Number of GPUs that share the model in this process.

    Raises:
        InputError: The server's URL is missing, or is given without a server.
    """

    mode: Mode = "off"
    url: str | None = None
    group_port: int = 51216
    timeout: float = 240.0
    memory: float = 0.3
    max_length: int | None = None
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        lowest = {"group_port": 1, "timeout": 1e-6, "memory": 1e-6, "tensor_parallel": 1}
        require(self, lowest, {"group_port": 65535, "memory": 1})
        if self.max_length is not None:
            require(self, {"max_length": 1})
        for name, mode in _MODE_OF.items():
            if self.mode != mode and getattr(self, name) != getattr(VLLMSampling, name):
                raise InputError(f"is for mode {mode}", field=name)
        if (self.mode == "server") != (self.url is not None):
            raise InputError(f"is required with mode server, and only there; found {self.url!r}", field="url")

    def require(self) -> None:
        """Check before any long computation that vLLM can run.

        Raises:
            InputError: vLLM is not installed, or there is no CUDA device.
        """
        if self.mode == "off":
            return
        # Command lines name these options as well; their help needs no torch.
        from torch.cuda import is_available

        if find_spec("vllm") is None:
            raise InputError("requires vllm, which TRL uses for sampling: pip install vllm", field="vllm")
        if not is_available():
            raise InputError("requires a CUDA device: TRL sends weights to vLLM by NCCL", field="vllm")

    def arguments(self) -> dict[str, Any]:
        """Arguments of TRL's configurations of trainers."""
        if self.mode == "off":
            return {}
        shared: dict[str, Any] = {"use_vllm": True, "vllm_mode": self.mode}
        if self.mode == "server":
            return shared | {
                "vllm_server_base_url": self.url,
                "vllm_group_port": self.group_port,
                "vllm_server_timeout": self.timeout,
            }
        return shared | {
            "vllm_gpu_memory_utilization": self.memory,
            "vllm_max_model_length": self.max_length,
            "vllm_tensor_parallel_size": self.tensor_parallel,
        }
