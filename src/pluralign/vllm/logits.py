"""Logits processors and worker hooks of vLLM that mix the rows of a batch.

vLLM computes the logits of all rows, masks them by grammars, takes their log-probabilities, applies
penalties, and samples. Rows are mixed first of all (`mix_before_sampling`), so that all of this happens
to the mixture. `MixtureRows` then gives every member what the grammar did to the first, and
`MixtureDraws` draws.

Both classes serve V1's model runner and Model Runner V2, which construct and call them differently.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.vllm.rows import Mixtures, Row
from pluralign.vllm.settings import MEMBER, WEIGHTS, MixtureSettings, read_weights

_V1 = 2
"""Number of arguments, after the configuration, with which V1 constructs a logits processor."""


class GroupRows:
    """Follows which rows of the batch belong to groups.

    Args:
        vllm_config: vLLM's configuration.
        rest: Device and memory pinning in V1, the states of requests in V2.
    """

    update_rows: Callable[..., bool]
    """vLLM's ``process_dict_updates``."""

    def __init__(self, vllm_config: Any, *rest: Any) -> None:
        self._settings = MixtureSettings.of(vllm_config.additional_config)
        self.device: Any = rest[0] if len(rest) == _V1 else rest[0].device
        self._states: Any = None if len(rest) == _V1 else rest[0]
        # V1: rows by their place in the batch. V2: rows by the slot of their request.
        self._rows: dict[int, Row] = {}
        self._mixtures = Mixtures({}, self.device)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse steering weights that are none, and parameters that do not work with mixtures.

        Raises:
            InputError: See `require_mixable_params`.
        """
        require_mixable_params(sampling_params)

    def update_state(self, batch_update: Any) -> None:
        """V1: the batch has changed."""

        def new(params: Any, prompt: Any, output: list[int]) -> Row | None:
            return Row.of(params, output)

        if type(self).update_rows(self._rows, batch_update, new):
            self._mixtures = Mixtures(self._rows, self.device)

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2: a request enters a slot.

        Returns:
            Whether its logits are processed.
        """
        row = Row.of(sampling_params)
        if row is None:
            self._rows.pop(req_idx, None)
            return False
        self._rows[req_idx] = row
        return row.sampled or row.member.masked

    def in_slots(self, slots: Any) -> Mixtures:
        """V2: the groups of a batch, by the slots of its rows."""
        found = {i: self._rows[int(slot)] for i, slot in enumerate(slots) if int(slot) in self._rows}
        return Mixtures(found, self.device)

    def mix(self, logits: Any, slots: Any = None) -> Any:
        """Mix the rows of the groups in a batch, given by slots in V2."""
        if not self._rows:
            return logits
        mixtures = self._mixtures if slots is None else self.in_slots(slots)
        return mixtures.mix(logits, self._settings.power)


class MixtureRows(GroupRows):
    """Gives the rows of a group what a grammar has masked; in V2 it draws, too."""

    def is_argmax_invariant(self) -> bool:
        """V1: masks change the most likely token, so this runs for greedy rows, before penalties."""
        return False

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """Process the logits of a step."""
        if not self._rows:
            return logits
        if ctx is None:
            self._mixtures.copy_masks(logits)
            return logits
        slots = ctx.idx_mapping_np
        if len(slots) != len(logits):
            raise RuntimeError("mixtures do not work with speculative decoding")
        mixtures = self.in_slots(slots)
        mixtures.copy_masks(logits)
        prompt = self._states.prompt_len.np
        seen = ctx.seq_lens_upper_bound_np
        numbers = [int(seen[place]) - int(prompt[int(slots[place])]) for place, _ in mixtures.leaders]
        mixtures.draw(logits, numbers, scale=True)
        return logits


class MixtureDraws(GroupRows):
    """V1: draws the tokens of groups, after penalties, temperature and min-p."""

    def is_argmax_invariant(self) -> bool:
        """Greedy rows need no draw."""
        return True

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """Process the logits of a step."""
        if self._rows and ctx is None:
            self._mixtures.draw(logits, [len(row.output) for _, row in self._mixtures.leaders])
        return logits


def require_mixable_params(sampling_params: Any) -> None:
    """Refuse sampling parameters that do not work with mixtures.

    Args:
        sampling_params: vLLM's sampling parameters.

    Raises:
        InputError: The steering weights are none, or a parameter has no meaning for mixtures.
    """
    extra: dict[str, Any] = sampling_params.extra_args or {}
    if MEMBER in extra:
        raise InputError("is for internal use", field=MEMBER)
    if extra.get(WEIGHTS) is None:
        return
    read_weights(extra[WEIGHTS])
    if sampling_params.prompt_logprobs is not None:
        raise InputError("mixtures do not work with log-probabilities of the prompt", field="prompt_logprobs")


def mix_before_sampling(runner: Any, find: Callable[[Any], GroupRows]) -> None:
    """V1: mix the logits of each step before anything else happens to them.

    Args:
        runner: vLLM's model runner.
        find: Function from the runner to its `MixtureRows`.
    """
    sample = runner.sample_tokens

    @functools.wraps(sample)
    @torch.inference_mode()
    def sample_tokens(grammar_output: Any) -> Any:
        state = runner.execute_model_state
        if state is not None and state.logits is not None:
            mixed = find(runner).mix(state.logits)
            runner.execute_model_state = state._replace(logits=mixed)
        return sample(grammar_output)

    runner.sample_tokens = sample_tokens


def mix_in_sampling(runner: Any, find: Callable[[Any], GroupRows]) -> None:
    """V2: mix the logits that the runner's ``sample`` computes.

    Args:
        runner: vLLM's Model Runner V2, with its model.
        find: Function from the runner to its `MixtureRows`.

    Raises:
        InputError: The runner splits the batch among ranks.
    """
    if runner.batch_sharder is not None:
        raise InputError("mixtures do not work with --enable-batch-sharded-sampling")
    sample, compute = runner.sample, runner.model.compute_logits
    batch: list[Any] = []

    @functools.wraps(sample)
    def sampled(hidden_states: Any, input_batch: Any, grammar_output: Any) -> Any:
        batch.append(input_batch)
        try:
            return sample(hidden_states, input_batch, grammar_output)
        finally:
            batch.clear()

    @functools.wraps(compute)
    def compute_logits(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        logits = compute(hidden_states, *args, **kwargs)
        # Log-probabilities of prompts are computed outside of `sample`, and are not mixed.
        if not batch or logits is None:
            return logits
        return find(runner).mix(logits, batch[0].idx_mapping_np)

    runner.sample, runner.model.compute_logits = sampled, compute_logits
