"""Policy gradients on completions with TRL's RLOO trainer: REINFORCE with a leave-one-out baseline."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback

from pluralign.core import InputError
from pluralign.learn.engine import processes
from pluralign.learn.texts.adversarial.forest_trainer import forest_trainer
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.device import default_device
from pluralign.lm.prompts import prompt_ids
from pluralign.lm.tensors import kept_random_state, seeded

Reward = Callable[[Sequence[str], Sequence[str]], list[float]]
"""Function from prompts and completions (one per prompt) to rewards."""


def fresh_policy(model: str, weights: Mapping[str, Tensor], training: Training, seed: int) -> Backbone:
    """A separate copy of the policy for one `reinforce`, since TRL changes more of a model than its weights.

    Args:
        model: Policy before training.
        weights: Trained weights, by their names in the model.
        training: Training options, with the adapter's if one is trained.
        seed: Random seed of a new adapter's weights.
    """
    backbone = load_backbone(model, dtype=torch.float32)
    network: Any = backbone.model
    if training.lora_rank:
        with seeded(seed):
            network = add_lora(
                network, training.lora_rank, alpha=training.lora_alpha, targets=training.target_modules
            )
    network.load_state_dict(weights, strict=False)
    return dataclasses.replace(backbone, model=network.eval())


@torch.enable_grad()
def reinforce(
    backbone: Backbone, prompts: Sequence[str], reward: Reward, *,
    training: Training, samples: int, sampling: Decoding, seed: int, folder: Path,
    vllm: VLLMSampling | None = None,
) -> None:  # fmt: skip
    """Increase the mean reward of a model's completions, with one gradient step per batch of samples.

    This is the gradient of E_pi[r] (Ahmadian et al. 2024): a completion's advantage is its reward minus the
    mean reward of its prompt's other completions. Advantages are not divided by a standard deviation, which
    would remove the reward's scale, and there is no KL penalty.

    Args:
        backbone: Model whose parameters with ``requires_grad`` are trained, in float32.
        prompts: Texts; each gets ``samples`` completions per epoch.
        reward: Function from prompts and completions to rewards; completions have no end-of-text token.
        training: Epochs, batch size (completions), learning rate with its schedule, weight decay, gradient
            norm, precision; and for memory the token budget of a pass, which reads a part of the batch at a
            time, and gradient checkpointing.
        samples: Number of completions per prompt in a batch, at least 2.
        sampling: Sampling settings.
        seed: Random seed of samples and order.
        folder: Working folder of TRL.
        vllm: vLLM as the sampler; by default, pluralign's own.

    Raises:
        InputError: TRL is not installed, or the batch size is no multiple of ``samples`` or larger than the
            number of all prompts' samples.
    """
    config, trainer_class = _trl()
    check_batch(training.batch_size, samples, len(prompts))
    datasets: Any = import_module("datasets")

    def rewarded(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return reward(prompts, completions)

    steps = training.steps(len(prompts) * samples)
    longest = max(len(prompt_ids(backbone.tokenizer, text)) for text in prompts) + sampling.max_new_tokens
    size = _completions_at_once(training.batch_size, training.token_budget // longest)
    # Trainer seeds all random numbers, those of the user too.
    with _known_warnings(), kept_random_state():
        settings = config(
            output_dir=str(folder), max_steps=steps, per_device_train_batch_size=size,
            gradient_accumulation_steps=training.batch_size // size, num_generations=samples,
            max_completion_length=sampling.max_new_tokens, temperature=sampling.temperature, beta=0.0,
            normalize_advantages=False, disable_dropout=True, learning_rate=training.learning_rate,
            weight_decay=training.weight_decay, lr_scheduler_type=training.lr_scheduler_type,
            max_grad_norm=training.max_grad_norm, warmup_steps=round(training.warmup * steps),
            bf16=is_mixed(training), use_cpu=default_device().type == "cpu", seed=seed,
            # TRL would add the load-balancing loss of experts' routers to the reward's.
            router_aux_loss_coef=0.0,
            gradient_checkpointing=False, save_strategy="no", logging_strategy="no", report_to="none",
            disable_tqdm=not (sys.stderr and sys.stderr.isatty()),
            **(vllm or VLLMSampling()).arguments(),
        )  # fmt: skip
        rows = datasets.Dataset.from_dict({"prompt": list(prompts)})
        trainer = trainer_class(
            backbone, sampling, training.token_budget, training.gradient_checkpointing,
            reward_funcs=rewarded, args=settings, train_dataset=rows,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    backbone.model.eval()


def check_batch(batch_size: int, samples: int, prompts: int) -> None:
    """Check that batches can consist of whole groups.

    Raises:
        InputError: See `reinforce`.
    """
    if batch_size % samples:
        raise InputError(
            f"must be a multiple of the {samples} samples per prompt, found {batch_size}", field="batch_size"
        )
    if batch_size > prompts * samples:
        raise InputError(
            f"must be at most the {samples} samples of {prompts} prompts, found {batch_size}",
            field="batch_size",
        )


def _completions_at_once(batch_size: int, most: int) -> int:
    """Largest divisor of a batch size that is at most a number, and at least 1: gradients of equal parts have
    the whole batch's as their mean."""
    return next(size for size in range(max(1, min(batch_size, most)), 0, -1) if batch_size % size == 0)


def check_training(training: Training, vllm: VLLMSampling | None) -> None:
    """Check before any long computation that policy gradients can run with these options.

    Raises:
        InputError: TRL is not installed, vLLM cannot run, an option of training has no effect here, or
            several processes are running.
    """
    _trl()
    if vllm is not None:
        vllm.require()
    if training.layers is not None:
        raise InputError(
            "policy gradients train the whole trunk or an adapter; layers must be None", field="layers"
        )
    for name in ("load_in", "report_to"):
        if getattr(training, name) != getattr(Training, name):
            raise InputError("has no effect on policy gradients", field=name)
    if processes().num_processes > 1:
        raise InputError("policy gradients support a single process only")


def _trl() -> tuple[Any, Any]:
    # An optional extra, whose import takes seconds.
    try:
        from trl.trainer.rloo_config import RLOOConfig

        return RLOOConfig, forest_trainer()
    except ImportError as error:
        raise InputError(f"policy gradients require TRL: pip install 'pluralign[rl]' ({error})") from error


@contextmanager
def _known_warnings() -> Generator[None]:
    with warnings.catch_warnings():
        # TRL 1.16 and PEFT 0.21 use names that changed in transformers 5.23.
        warnings.filterwarnings("ignore", message="`(is_)?gradient_checkpointing", category=FutureWarning)
        yield
