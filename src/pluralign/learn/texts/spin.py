"""Self-play fine-tuning: DPO of demonstrations over samples of the policy before each iteration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pluralign.core import Demonstration
from pluralign.core.checks import checked
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.data.reading import holds_quoted
from pluralign.learn.engine import processes
from pluralign.learn.texts.data import (
    CompletionData,
    encode_completion_pairs,
    quoted_demonstrations,
    require_demonstrations,
    split_rows,
)
from pluralign.learn.texts.log_probs import reference_log_probs, validation_nll
from pluralign.learn.texts.policies import PreferenceLoss
from pluralign.learn.texts.policy_settings import SPINConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.prompts import sample_texts
from pluralign.lm.tensors import trains
from pluralign.losses.contrastive import dpo
from pluralign.pair.recipes import pair_completions

_PROMPTS = 64


@checked
@trains
@folder_optional
def fit_spin(demonstrations: Sequence[Demonstration], run: Run, config: SPINConfig | None = None) -> Backbone:
    """Train a policy on demonstrations by self-play (Chen et al. 2024, eq. 4.7).

    In each iteration the current policy samples completions, and DPO prefers the demonstrations to them, with
    the same policy as reference. ``run.training.epochs`` counts the epochs of one iteration. The samples are
    in ``OUT/rounds/N.jsonl``; an interrupted run continues where it stopped.

    Args:
        demonstrations: Demonstrations; ``train`` is used for training, ``validation`` for measurement.
        run: Model (the initial policy; SPIN's authors start from SFT), folder, training options, seed.
        config: See `SPINConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: No demonstration to learn from, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "completion": " yes"} for i in range(8)]
        >>> demonstrations = pl.load_demonstrations(rows)
        >>> config = pl.learn.SPINConfig(iterations=1, max_new_tokens=4)
        >>> policy = pl.learn.fit_spin(demonstrations, pl.learn.Run("tiny-random"), config)
        >>> policy.name
        'spin'
    """
    config = config or SPINConfig()
    require_demonstrations(demonstrations)
    session = Session(
        "spin", run, dataclasses.asdict(config), demonstrations, demonstrations=True, vocabulary=True
    )
    train, _ = split_rows(demonstrations, run.provenance.get("file"))
    if not session.quoted:
        train = quoted_demonstrations(train, session.backbone.tokenizer)
    figures: dict[str, Any] = {"curves": []}
    for number in range(1, config.iterations + 1):
        drawn = _draw(session, train, config, number, turns=holds_quoted(demonstrations))
        pairs = pair_completions(train, drawn, objective=session.objective, recipe="spin")
        data: CompletionData = encode_completion_pairs(pairs, session.reader())
        reference = reference_log_probs(
            session, data, session.out / "checkpoints" / f"reference-{number}.safetensors"
        )
        module = PreferenceLoss(partial(dpo, beta=config.beta), reference).to(session.backbone.device)
        figures["curves"].append(session.train(module, data, f"iteration-{number}"))
    return session.finish_policy({**figures, **validation_nll(session)})


def _draw(
    session: Session, demonstrations: Sequence[Demonstration], config: SPINConfig, number: int, *, turns: bool
) -> list[Demonstration]:
    """Samples of the current policy for the demonstrations' prompts; loaded if they exist already."""
    path = session.out / "rounds" / f"{number}.jsonl"
    prompts = list({row.prompt: row for row in demonstrations})
    with processes().main_process_first():
        if processes().is_main_process and not path.exists():
            _write(session, prompts, config, number, path)
    known = {row.prompt: row for row in demonstrations}
    rows, text = (
        [fields.row for fields in read_rows(path)],
        sample_texts(session.backbone.tokenizer, turns=turns),
    )
    return [
        dataclasses.replace(
            known[row["prompt"]],
            completion=text(row["completion"]),
            source=f"iteration {number}",
        )
        for row in rows
        # Empty samples teach nothing.
        if row["completion"].strip()
    ]


def _write(session: Session, prompts: Sequence[str], config: SPINConfig, number: int, path: Path) -> None:
    writer = session.writer()
    sampling = Decoding(config.max_new_tokens, config.temperature)
    label = f"iteration {number}"
    items = [(prompt, sample) for prompt in prompts for sample in range(config.samples)]

    def draw(batch: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        own = list(dict.fromkeys(prompt for prompt, _ in batch))
        drawn = draw_samples(writer, own, config.samples, sampling, seed=session.run.seed, label=label)
        return [{"prompt": prompt, "completion": drawn[prompt][i], "sample": i} for prompt, i in batch]

    run_batches(
        path, {"iteration": number}, items, draw,
        batch=_PROMPTS * config.samples, label=f"{label} draws", unit="completion",
    )  # fmt: skip
