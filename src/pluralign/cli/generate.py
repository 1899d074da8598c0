"""``pluralign generate``: model or trained policy x prompts -> completions."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, Requests, wrote
from pluralign.cli.guides import read_guides
from pluralign.core.digests import source_digest
from pluralign.data.load import load_prompts
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import DEFAULT_MODEL


def generate_texts(
    prompts: str,
    out: Path,
    model: str = DEFAULT_MODEL,
    adapter: Path | None = None,
    samples: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    limit: int | None = None,
    guides: tuple[str, ...] = (),
    weights: str | None = None,
    strength: float | None = None,
    candidates: int | None = None,
    dtype: DTypeName = "auto",
    base: str | None = None,
    control_tokens: bool = False,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
) -> Figures:
    """Complete prompts with a language model, an endpoint, or a policy trained by sft, dpo, spin or ava.

    A prompt that is a text is continued as it is; messages are rendered by the template that a policy was
    trained with, or the model's own. Duplicate prompts are used once, empty prompts are skipped, and prompts
    longer than the context are truncated from the left. The summary reports how many. An interrupted run
    continues. A sample depends on its prompt, its number and the seed only.

    With --guides, value models (pluralign learn value) guide the sampling: each token is one of the most
    likely, and STRENGTH times the weighted sum of values is added to its logit.

    Example: pluralign generate --model runs/sft --prompts hh/harmless.jsonl.gz --samples 64 --out draws.jsonl

    Args:
        prompts: File with a column "prompt" (texts or messages), with "messages", or with TRL's "chosen" and
            "rejected", whose common prompt is used; a folder or hub id; or a .txt with one prompt per line.
        out: JSON-lines file to write: prompt, completion, sample, and how it was sampled.
        model: Model: smollm2-135m, a hub id, a local folder, a trained policy's folder, or openai:NAME for an
            endpoint (its key is OPENAI_API_KEY).
        adapter: Folder of a PEFT adapter for the model.
        samples: Number of completions per prompt.
        max_new_tokens: Largest number of tokens of a completion.
        temperature: Sampling temperature; 0 selects the most likely token.
        seed: Random seed of the samples.
        limit: Largest number of prompts; the first ones are used.
        guides: Value model of each objective, as NAME=DIR.
        weights: Weights of the guides, as NAME=NUMBER,NAME=NUMBER, or wish:DIAL:NAME=NUMBER,... by a
            calibrated dial; equal by default. Weight 0 costs nothing.
        strength: Strength of the guides, nats per standard deviation of their training rewards; 1 by default,
            0 for the plain model.
        candidates: Number of most likely tokens that the guides evaluate; 20 by default.
        dtype: Floating-point type of the model: float32, bfloat16, or auto, which is bfloat16 if the hardware
            supports it well.
        base: Base model of a trained policy's folder, if it was moved.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text, except for policies trained with this option.
        endpoint: Requests to an endpoint.
    """
    # Help needs no model.
    from pluralign.lm.decoding import Decoding
    from pluralign.steer.writers import open_writer, write_completions

    led = read_guides(guides, weights, strength, candidates)
    writer = open_writer(
        model,
        Decoding(max_new_tokens, temperature),
        adapter=adapter,
        guides=led,
        dtype=dtype,
        base=base,
        control_tokens=control_tokens,
        endpoint=endpoint,
    )
    found = load_prompts(prompts, template=writer.template, limit=limit)
    given = [prompt.given for prompt in found]
    counts = {**found.counts, "cut": writer.cut(given)}
    columns = {
        "model": model, "adapter": None if adapter is None else str(adapter),
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
        **({} if led is None else led.described()),
    }  # fmt: skip
    run = {"prompts": source_digest(prompts), "dtype": dtype, "limit": limit}
    if control_tokens:
        run["control_tokens"] = True
    if led is not None:
        run["guide_cards"] = led.digests()
    write_completions(writer, given, out, samples=samples, seed=seed, columns=columns, run=run)
    left_out = [f"{value} {_LEFT_OUT[name]}" for name, value in counts.items() if value and name in _LEFT_OUT]
    wrote(out, "; ".join([f"{len(found) * samples} completions of {len(found)} prompts", *left_out]))
    return {**counts, "prompts": len(found), "completions": len(found) * samples}


_LEFT_OUT = {
    "repeated": "duplicate prompts used once",
    "empty": "empty prompts skipped",
    "unusable": "rows without a single prompt skipped",
    "cut": "prompts truncated from the left",
}
