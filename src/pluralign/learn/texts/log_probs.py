"""Log-probabilities of rows under the model that is being trained and under the reference."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.folders.tensors import read_metadata, read_tensors, write_tensors
from pluralign.learn.engine import processes
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import map_rows
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.vocabulary import branch_log_probs


def completion_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch, *, per_token: bool
) -> Float[Tensor, "rows completions"]:
    """Log-probabilities of a batch's completions, nats: sums over tokens, or means per token."""
    found = branch_log_probs(model, hidden, batch.forest)
    if per_token:
        found = found / batch.forest.lengths
    return found[batch.branches]


def row_log_probs(
    trunk: TunedTrunk, data: CompletionData, token_budget: int, bf16: bool
) -> Float[Tensor, "rows completions"]:
    """Log-probability of every completion given its prompt, nats."""

    def log_probs(hidden: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=bf16):
            return branch_log_probs(trunk.model, hidden, batch.forest)[batch.branches]

    return map_rows(trunk, data, log_probs, token_budget=token_budget, bf16=bf16)


def reference_log_probs(
    session: Session, data: CompletionData, path: Path
) -> Float[Tensor, "rows completions"]:
    """Log-probabilities under the trunk as it is now, nats; cached in a file for resumed runs, which may have
    other validation rows."""
    training, rows = session.run.training, data.digest()
    with processes().main_process_first():
        if not path.exists() or read_metadata(path).get("rows") != rows:
            values = row_log_probs(session.trunk, data, training.token_budget, is_mixed(training))
            write_tensors(path, {"log_probs": values}, {"rows": rows})
    return read_tensors(path)["log_probs"]


def validation_nll(session: Session) -> dict[str, float]:
    """Negative log-likelihood of the validation demonstrations, nats per token, end-of-text tokens
    included."""
    data, training = session.validation, session.run.training
    if data is None:
        return {}
    found = row_log_probs(session.trunk, data, training.token_budget, is_mixed(training))
    return {"validation_nll": round(float(-found[:, 0].sum() / int(data.lengths[:, 0].sum())), 4)}
