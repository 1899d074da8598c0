"""The names that vLLM's options refer to: classes of this package on those of the vLLM that is installed.

They are made when they are asked for, so that this module imports without vLLM.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from pluralign.vllm import logits
from pluralign.vllm.lora_slots import add_empty_slot
from pluralign.vllm.middleware import SteeringMiddleware
from pluralign.vllm.scheduler import MixtureScheduling, VllmNames

__all__ = ["SteeringMiddleware"]


@cache
def _scheduler() -> Callable[..., Any]:
    sched = "vllm.v1.core.sched"
    plain: Any = import_module(f"{sched}.scheduler").Scheduler
    asynchronous: Any = import_module(f"{sched}.async_scheduler").AsyncScheduler
    names = VllmNames(
        import_module("vllm.v1.request").RequestStatus,
        import_module(f"{sched}.interface").PauseState,
        import_module("vllm.lora.request").LoRARequest,
    )
    kinds: dict[bool, Any] = {
        False: type("MixtureScheduler", (MixtureScheduling, plain), {"names": names}),
        True: type("AsyncMixtureScheduler", (MixtureScheduling, asynchronous), {"names": names}),
    }

    def make(vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        return kinds[bool(vllm_config.scheduler_config.async_scheduling)](vllm_config, *args, **kwargs)

    return make


@cache
def _processor(kind: type[logits.GroupRows]) -> type[logits.GroupRows]:
    first: Any = import_module("vllm.v1.sample.logits_processor")
    second: Any = import_module("vllm.v1.worker.gpu.sample.logits_processor")
    update: Callable[..., Any] = import_module(f"{first.__name__}.builtin").process_dict_updates
    bases: tuple[Any, ...] = (kind, first.LogitsProcessor, second.LogitsProcessor)
    return type(kind.__name__, bases, {"update_rows": staticmethod(update)})


@cache
def _worker() -> Any:
    platform: Any = import_module("vllm.platforms").current_platform
    if platform.is_cpu():
        base = import_module("vllm.v1.worker.cpu_worker").CPUWorker
    elif platform.is_xpu():
        base = import_module("vllm.v1.worker.xpu_worker").XPUWorker
    else:
        base = import_module("vllm.v1.worker.gpu_worker").Worker

    class MixtureWorker(base):
        """vLLM's worker, with mixtures."""

        def load_model(self, *args: Any, **kwargs: Any) -> Any:
            """Load the model, and mix its logits from then on."""
            parent: Any = super()
            result = parent.load_model(*args, **kwargs)
            runner: Any = self.model_runner
            if platform.is_cpu():
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
