"""``pluralign generate``: model or trained policy x prompts -> completions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.cli.policies import DEFAULT_MODEL
from pluralign.cli.texts import digest_of
from pluralign.core import InputError
from pluralign.core.rows_in_progress import RowsInProgress
from pluralign.core.splits import seed_for
from pluralign.models.backbone import Backbone, fast_dtype, load_backbone
from pluralign.models.card import CARD, read_card
from pluralign.models.generation import Sampling, generate_rows
from pluralign.models.rendering import TEMPLATES, encode, prefix_ids
from pluralign.models.tuned import load_language_policy
from pluralign.pair.preference_data import read_dataset

_BATCH = 16
_TOKENS = 8192


def generate_texts(
    prompts: str,
    out: Path,
    model: str = DEFAULT_MODEL,
    adapter: Path | None = None,
    samples: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    exact: bool = False,
    json: JsonFile = None,
) -> None:
    """Let a language model, or a policy learned by sft, dpo or ava, complete prompts.

    A prompt that is a text is continued as it stands; one of messages is rendered by the template that a
    policy was trained with, or a model's own. An interrupted run continues; a sample depends on its prompt,
    its number and the seed alone.

    Example: pluralign generate --model runs/helpful --prompts prompts.jsonl --samples 4 --out runs/a.jsonl

    Args:
        prompts: a file with a column "prompt" (texts or messages), a folder or hub id; or a .txt, one a line.
        out: the JSON-lines file to write: prompt, completion, sample, and how it was drawn.
        model: smollm2-135m, a hub id, a local folder, or a trained policy's folder.
        adapter: folder of a PEFT adapter to put on the model.
        samples: completions of each prompt.
        max_new_tokens: completions are cut off there.
        temperature: 0 takes the likeliest token.
        seed: of the samples.
        exact: compute in float32 where bfloat16 would be faster.
        json: a file for the figures.
    """
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    backbone, template = _open(model, adapter, exact)
    sampling = Sampling(max_new_tokens, temperature)
    found = _prompts(prompts, template, backbone)
    drawn = {
        "model": model, "adapter": None if adapter is None else str(adapter),
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
    }  # fmt: skip
    prefix = prefix_ids(backbone.tokenizer)
    tasks = [(number, sample) for number in range(len(found)) for sample in range(samples)]
    run = {**drawn, "samples": samples, "prompts": digest_of(prompts), "exact": exact}
    bar = tqdm(total=len(tasks), unit="completion", disable=not sys.stderr.isatty())
    with bar, RowsInProgress(out, run) as target:
        bar.update(target.done)
        while target.done < len(tasks):
            batch = tasks[target.done : target.done + _BATCH]
            texts = [found[number][1] for number, _ in batch]
            # Equal prompts of a file are different rows: the row's number is part of the seed.
            seeds = [seed_for(f"{number} {sample} {found[number][1]}", seed) for number, sample in batch]
            ids = [([*prefix, *encode(backbone.tokenizer, text)], len(prefix)) for text in texts]
            completions = generate_rows(backbone, ids, seeds, sampling, _TOKENS)
            target.write(
                [
                    {"prompt": found[number][0], "completion": text, "sample": sample, **drawn}
                    for (number, sample), text in zip(batch, completions, strict=True)
                ]
            )
            bar.update(len(batch))
        target.finish()
    wrote(out, f"{len(tasks)} completions of {len(found)} prompts")
    give_figures({"prompts": len(found), "completions": len(tasks)}, json)


def _open(model: str, adapter: Path | None, exact: bool) -> tuple[Backbone, str]:
    import torch

    dtype = torch.float32 if exact else fast_dtype()
    folder = Path(model)
    if (folder / CARD).is_file():
        if adapter is not None:
            raise InputError("a trained policy has its own; give a model without one", field="adapter")
        policy = load_language_policy(folder, dtype=dtype)
        return policy, str(read_card(folder).get("template", "dialogue"))
    return load_backbone(model, dtype=dtype, adapter=adapter), "chat"


def _prompts(source: str, template: str, backbone: Backbone) -> list[tuple[Any, str]]:
    """Each prompt as it was given, and as the text that the model continues."""
    path = Path(source)
    if path.suffix == ".txt":
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", path=path) from error
        given: list[Any] = [line for line in lines if line.strip()]
    else:
        given = [row.get("prompt") for part in read_dataset(source).values() for row in part]
    if not given:
        raise InputError("holds no prompt", path=source)
    found: list[tuple[Any, str]] = []
    for number, prompt in enumerate(given, start=1):
        if isinstance(prompt, str) and prompt.strip():
            found.append((prompt, prompt))
        elif isinstance(prompt, list) and prompt and all(isinstance(m, dict) for m in prompt):
            found.append((prompt, TEMPLATES[template](backbone.tokenizer)(prompt, True)))
        else:
            raise InputError(
                f"expected a text or messages, found {prompt!r:.60}", path=source, row=number, field="prompt"
            )
    return found
