"""Steps whose loss is a sum of parts: each part is computed and differentiated before the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Trainer

from pluralign.core import InputError


class StepLoss(nn.Module):
    """Loss of a step's rows, as a sum of parts.

    `forward` maps a part to ``{"loss"}``, a scalar. Only one part's activations are in memory at a time.
    """

    def parts(self, rows: Int[Tensor, " batch"]) -> Sequence[Any]:
        """Arguments of the forward passes whose losses add up to the loss of these rows, at least one."""
        raise NotImplementedError

    def differentiated(self, part: Any) -> None:
        """Called when a part's gradient was added to those of the parameters; by default it stays as it is.

        Args:
            part: The part.
        """

    def as_named(self) -> Sequence[nn.Module]:
        """Modules that hold the weights under their own names, by which norms and biases are known, which do
        not decay; by default this one."""
        return [self]

    def whole(self) -> Mapping[str, nn.Module]:
        """The modules that hold all weights of the loss, frozen ones too, by names of the caller's choice.

        Raises:
            InputError: The loss cannot be sharded, because its forward passes differ between processes.
        """
        raise InputError("this method does not train under FSDP or DeepSpeed; DDP and one process do")


class PartsTrainer(Trainer):
    """`transformers.Trainer` whose step accumulates the gradients of the parts of a `StepLoss`.

    Args:
        loss: The loss; ``model`` is the loss, or holds its weights in another form.
        settings: Arguments of `Trainer`.
    """

    def __init__(self, loss: StepLoss, **settings: Any) -> None:
        cast("Any", super()).__init__(**settings)
        self._parted = loss
        # Where nothing decays, the optimizer's state has the groups that it had in version 0.1.
        modules = loss.as_named() if cast("Any", self).args.weight_decay else [loss]
        names_of = super().get_decay_parameter_names
        self._decaying = {id(module.get_parameter(name)) for module in modules for name in names_of(module)}

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the weights that decay, which are those that decay without sharding."""
        return [name for name, value in model.named_parameters() if id(value) in self._decaying]

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of a step, the gradient of which is in the parameters afterwards."""
        model.train()
        accelerator = cast("Any", self).accelerator
        gradients = accelerator.gradient_state
        parts = list(self._parted.parts(inputs["rows"]))
        passes = self._most(len(parts))
        total: Tensor | None = None
        for number in range(passes):
            last = number == passes - 1
            # DDP reduces gradients in the last pass, in which DeepSpeed takes the optimizer's step, too.
            # Shards are reduced in each, so that no gradient is whole for long.
            gradients._set_sync_gradients(last)
            with nullcontext() if last or self._sharded else accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = model(parts[min(number, len(parts) - 1)])["loss"]
                if number < len(parts):
                    total = loss.detach() if total is None else total + loss.detach()
                else:
                    loss = loss * 0.0
                accelerator.backward(loss)
            if number < len(parts):
                self._parted.differentiated(parts[number])
        assert total is not None, "a step has parts"
        return total

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights of a checkpoint; DeepSpeed's are in files of its own."""
        if not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)

    @property
    def _sharded(self) -> bool:
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def _most(self, count: int) -> int:
        """The number of passes of every process: shards are gathered and reduced in each pass, by all.

        A process with fewer parts repeats its last one with weight 0.
        """
        own = cast("Any", self)
        if not self._sharded or own.args.world_size == 1:
            return count
        counts = own.accelerator.gather(torch.tensor([count], device=own.args.device))
        return int(counts.max())
