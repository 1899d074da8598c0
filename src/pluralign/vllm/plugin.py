# pyright: basic
"""The names that vLLM's options refer to: classes of this package on those of the vLLM that is installed.

They are made when they are asked for, so that this module imports without vLLM.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pluralign.vllm import logits
from pluralign.vllm.lora_slots import add_empty_slot
from pluralign.vllm.middleware import SteeringMiddleware
from pluralign.vllm.scheduler import MixtureScheduling, VllmNames

__all__ = ["SteeringMiddleware"]


@cache
def _scheduler() -> Callable[..., Any]:
    from vllm.lora.request import LoRARequest  # pyright: ignore
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # pyright: ignore
    from vllm.v1.core.sched.interface import PauseState  # pyright: ignore
    from vllm.v1.core.sched.scheduler import Scheduler  # pyright: ignore
    from vllm.v1.request import RequestStatus  # pyright: ignore

    attributes = {"names": VllmNames(RequestStatus, PauseState, LoRARequest)}
    kinds: dict[bool, Any] = {
        False: type("MixtureScheduler", (MixtureScheduling, Scheduler), attributes),
        True: type("AsyncMixtureScheduler", (MixtureScheduling, AsyncScheduler), attributes),
    }

    def make(vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        return kinds[bool(vllm_config.scheduler_config.async_scheduling)](vllm_config, *args, **kwargs)

    return make


@cache
def _processor(kind: type[logits.GroupRows]) -> type[logits.GroupRows]:
    from vllm.v1.sample.logits_processor import LogitsProcessor  # pyright: ignore
    from vllm.v1.sample.logits_processor.builtin import process_dict_updates  # pyright: ignore
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as LogitsProcessorV2  # pyright: ignore

    attributes = {"update_rows": staticmethod(process_dict_updates)}
    return type(kind.__name__, (kind, LogitsProcessor, LogitsProcessorV2), attributes)


@cache
def _worker() -> Any:
    from vllm.platforms import current_platform  # pyright: ignore

    if current_platform.is_cpu():
        from vllm.v1.worker.cpu_worker import CPUWorker as Worker  # pyright: ignore
    elif current_platform.is_xpu():
        from vllm.v1.worker.xpu_worker import XPUWorker as Worker  # pyright: ignore
    else:
        from vllm.v1.worker.gpu_worker import Worker  # pyright: ignore

    class MixtureWorker(Worker):
        """vLLM's worker, with mixtures."""

        def load_model(self, *args: Any, **kwargs: Any) -> Any:
            """Load the model, and mix its logits from then on."""
            result = super().load_model(*args, **kwargs)
            runner: Any = self.model_runner
            if current_platform.is_cpu():
                add_empty_slot(runner.model)
            if hasattr(runner, "execute_model_state") and hasattr(runner, "input_batch"):
                logits.mix_before_sampling(runner, _v1_rows)
            else:
                logits.mix_in_sampling(runner, _v2_rows)
            return result

    return MixtureWorker


def _v1_rows(runner: Any) -> logits.MixtureRows:
    processors = runner.input_batch.logitsprocs.non_argmax_invariant
    return next(one for one in processors if isinstance(one, logits.MixtureRows))


def _v2_rows(runner: Any) -> logits.MixtureRows:
    return next(one for one in runner.sampler.logits_processors if isinstance(one, logits.MixtureRows))


_MAKERS: dict[str, Callable[[], Any]] = {
    "MixtureScheduler": _scheduler,
    "MixtureWorker": _worker,
    "MixtureRows": lambda: _processor(logits.MixtureRows),
    "MixtureDraws": lambda: _processor(logits.MixtureDraws),
}


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _MAKERS[name]()
