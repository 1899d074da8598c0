"""What mixtures need of a vLLM engine, checked when it starts."""

from __future__ import annotations

from typing import Any

from pluralign.core import InputError
from pluralign.vllm.settings import MixtureSettings

MODULE = "pluralign.vllm.plugin"
SCHEDULER = f"{MODULE}.MixtureScheduler"
WORKER = f"{MODULE}.MixtureWorker"
LOGITS_PROCESSORS = (f"{MODULE}:MixtureRows", f"{MODULE}:MixtureDraws")
MIDDLEWARE = f"{MODULE}.SteeringMiddleware"


def require_supported(scheduler: Any, settings: MixtureSettings) -> None:
    """Check that an engine can mix the policies.

    Args:
        scheduler: vLLM's scheduler, initialised.
        settings: Policies that are mixed.

    Raises:
        InputError: An option of vLLM rules mixtures out, or the largest group does not fit.
    """
    config: Any = scheduler.vllm_config
    _require_options(scheduler, config)
    _require_parts(config)
    slots = scheduler.lora_config.max_loras if scheduler.lora_config else 0
    if settings.adapters > slots:
        # A member that is held back counts for no slot: others could take it, and the group would not fit.
        raise InputError(
            f"--max-loras must be at least {settings.adapters}, the number of adapters, not {slots}"
        )
    seats = scheduler.max_num_active_reqs
    if settings.most > seats:
        raise InputError(
            f"--max-num-seqs must be at least {settings.most}, the policies of a request, not {seats}"
        )
    budget = scheduler.max_num_scheduled_tokens
    if budget < seats:
        raise InputError(f"--max-num-batched-tokens must be at least --max-num-seqs, {seats}, not {budget}")
    blocks = scheduler.kv_cache_manager.block_pool.num_gpu_blocks - 1
    each = -(-scheduler.max_model_len // scheduler.block_size) * len(
        scheduler.kv_cache_config.kv_cache_groups
    )
    if settings.most * each > blocks:
        raise InputError(
            f"the cache of {blocks} blocks does not hold the longest mixture: {settings.most} policies of "
            f"{each} blocks each; lower --max-model-len, mix fewer policies together "
            "or give the cache more memory"
        )


def _require_options(scheduler: Any, config: Any) -> None:
    """Refuse options under which lockstep was not thought through."""
    groups = scheduler.kv_cache_config.kv_cache_groups
    for holds, what in (
        (config.speculative_config is not None, "speculative decoding"),
        (config.kv_transfer_config is not None, "transfers of keys and values"),
        (scheduler.policy.value == "priority", "--scheduling-policy priority"),
        (scheduler.is_encoder_decoder, "encoder-decoder models"),
        (config.model_config.runner_type != "generate", "models that do not generate"),
        (config.model_config.is_diffusion, "diffusion models"),
        (scheduler.has_mamba_layers, "recurrent layers"),
        (any(g.kv_cache_spec.block_size != scheduler.block_size for g in groups), "blocks of several sizes"),
        (
            config.model_config.logprobs_mode not in ("raw_logprobs", "raw_logits"),
            "log-probabilities after sampling parameters (--logprobs-mode)",
        ),
        (bool(config.parallel_config.enable_batch_sharded_sampling), "--enable-batch-sharded-sampling"),
    ):
        if holds:
            raise InputError(f"mixtures do not work with {what}")


def _require_parts(config: Any) -> None:
    """Check that the plugin is there as a whole: without its worker, rows would be drawn unmixed."""
    given = {str(name) for name in config.model_config.logits_processors or ()}
    for name in LOGITS_PROCESSORS:
        if name not in given:
            raise InputError(f"mixtures need --logits-processors {' '.join(LOGITS_PROCESSORS)}")
    if config.parallel_config.worker_cls != WORKER:
        raise InputError(f"mixtures need --worker-cls {WORKER}, found {config.parallel_config.worker_cls}")
