"""``pluralign generate``: model or trained policy x prompts -> completions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.cli.guides import BlockOption, Mix, RewardDistribution, read_samples, read_steering
from pluralign.core import InputError
from pluralign.core.digests import source_digest
from pluralign.data.load import load_prompts
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import DEFAULT_MODEL

if TYPE_CHECKING:
    from pluralign.lm.decoding import Decoding
    from pluralign.steer.block_guides import Blocks
    from pluralign.steer.writers import Guides
    from pluralign.steer.writing import Writer


def generate_texts(
    prompts: str,
    out: Path,
    model: str = DEFAULT_MODEL,
    adapter: Path | None = None,
    samples: str = "1",
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
    policies: tuple[str, ...] = (),
    guide_weights: str | None = None,
    block: BlockOption | None = None,
    draws: int | None = None,
    block_tokens: int | None = None,
    price: float | None = None,
    rewards: tuple[str, ...] = (),
    reward_weights: str | None = None,
    reward_distribution: RewardDistribution | None = None,
    context: str | None = None,
    context_model: str | None = None,
    endpoint: Requests = EndpointSettings(),  # noqa: B008 - frozen
) -> Figures:
    """Complete prompts with a language model, an endpoint, or a policy trained by sft, dpo, spin or ava.

    A prompt that is a text is continued as it is; messages are rendered by the template that a policy was
    trained with, or the model's own. Duplicate prompts are used once, empty prompts are skipped, and prompts
    longer than the context are truncated from the left. The summary reports how many. An interrupted run
    continues. A sample depends on its prompt, its number and the seed only.

    With --guides, value models (pluralign learn value) guide the sampling: each token is one of the most
    likely, and STRENGTH times the weighted sum of values is added to its logit. With --block as well, DRAWS
    continuations of each sentence or line are sampled, and the one that the guides score highest is kept; the
    rows report the number of tokens that were drawn.

    With --policies, a mixture of policies of the model is sampled, with or without --block.

    With a range of samples, each prompt gets samples until one is so good that another is not expected to
    gain its --price; rows report their reward, whether it is the prompt's best, and samples_drawn. Such
    samples are for choosing the best: since good ones end the drawing, they are no fair sample of the model.

    Example: pluralign generate --model runs/sft --prompts hh/harmless.jsonl.gz --samples 64 --out draws.jsonl

    Args:
        prompts: File with a column "prompt" (texts or messages), with "messages", or with TRL's "chosen" and
            "rejected", whose common prompt is used; a folder or hub id; or a .txt with one prompt per line.
        out: JSON-lines file to write: prompt, completion, sample, and how it was sampled.
        model: Model: smollm2-135m, a hub id, a local folder, a trained policy's folder, or openai:NAME for an
            endpoint (its key is OPENAI_API_KEY).
        adapter: Folder of a PEFT adapter for the model.
        samples: Number of completions per prompt; or, with --price and --rewards, a range such as 4..32.
        max_new_tokens: Largest number of tokens of a completion.
        temperature: Sampling temperature; 0 selects the most likely token.
        seed: Random seed of the samples.
        limit: Largest number of prompts; the first ones are used.
        guides: Value model of each objective, as NAME=DIR; with --block also a reward, as pluralign score
            takes it.
        weights: Weights of the policies or, without --policies, of the guides, as NAME=NUMBER,NAME=NUMBER, or
            wish:DIAL:NAME=NUMBER,... by a calibrated dial; equal by default. Weight 0 costs nothing.
        strength: Strength of the guides, nats per standard deviation of their training rewards; 1 by default,
            0 for the plain model.
        candidates: Number of most likely tokens that the guides evaluate; 20 by default.
        dtype: Floating-point type of the model: float32, bfloat16, or auto, which is bfloat16 if the hardware
            supports it well.
        base: Base model of a trained policy's folder, if it was moved.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text, except for policies trained with this option.
        policies: Policy of each objective, as NAME=DIR; the model is their base model. A folder of heads
            (learn mah-dpo) without a name means all of its objectives.
        guide_weights: Weights of the guides in addition to those of the policies; equal by default.
        block: Unit of the blocks that are drawn and chosen: sentences, lines, or tokens.
        draws: Number of continuations of each block; 5 by default, 1 for plain sampling.
        block_tokens: Largest number of tokens of a block; 64 by default.
        price: Price of a sample, in the unit of the single reward; several rewards are divided by their
            standard deviations between completions of one prompt first.
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        reward_weights: Weights of several rewards, as NAME=NUMBER,NAME=NUMBER; equal by default.
        reward_distribution: What rewards of a prompt are taken to be: normal, the default; or samples,
            distributed like the first samples of all prompts, for skewed rewards and many prompts.
        context: Scored completions of other prompts by the same model and reward, from which the mean reward
            of each prompt is predicted; without it, it is known from the prompt's samples only.
        context_model: Frozen model whose features describe the prompts for --context; smollm2-135m by
            default.
        endpoint: Requests to an endpoint.
    """
    # Help needs no model.
    from pluralign.lm.decoding import Decoding
    from pluralign.steer.prompt_prior import load_prompt_value
    from pluralign.steer.writers import write_completions

    wanted = read_samples(samples, price, rewards, reward_weights, reward_distribution, context,
                          context_model, temperature, dtype)  # fmt: skip
    mix, led = read_steering(
        policies, guides, weights, guide_weights, strength, candidates, block, draws, block_tokens, dtype
    )
    if mix is not None and (adapter is not None or base is not None):
        raise InputError("does not apply to --policies", field="base" if adapter is None else "adapter")
    writer = _open(model, Decoding(max_new_tokens, temperature), mix, led, adapter, dtype, base,
                   control_tokens, endpoint)  # fmt: skip
    found = load_prompts(prompts, template=writer.template, limit=limit)
    given = [prompt.given for prompt in found]
    counts = {**found.counts, "cut": writer.cut(given)}
    columns = {
        "model": model, "adapter": None if adapter is None else str(adapter),
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
        **({} if mix is None else mix.described()), **({} if led is None else led.described()),
    }  # fmt: skip
    run = {"prompts": source_digest(prompts), "dtype": dtype, "limit": limit}
    if control_tokens:
        run["control_tokens"] = True
    if led is not None:
        run["guide_cards"] = led.digests()
    if mix is not None:
        run["policy_cards"] = mix.digests()
    if context is not None and not isinstance(wanted, int):
        value = load_prompt_value(context, context_model or DEFAULT_MODEL, template=writer.template)
        wanted = replace(wanted, prior=value.predict([prompt.text for prompt in found]))
    drawn = write_completions(writer, given, out, samples=wanted, seed=seed, columns=columns, run=run)
    left_out = [f"{value} {_LEFT_OUT[name]}" for name, value in counts.items() if value and name in _LEFT_OUT]
    wrote(out, "; ".join([f"{sum(drawn)} completions of {len(found)} prompts", *left_out]))
    figures = {**counts, "prompts": len(found), "completions": sum(drawn)}
    if isinstance(wanted, int):
        return figures
    full = sum(count == wanted.most for count in drawn)
    mean = sum(drawn) / len(drawn)
    say(f"samples of a prompt: {min(drawn)} to {max(drawn)}, {mean:.1f} on average; {full} at the largest")
    return {**figures, "mean_samples": mean, "prompts_at_most": full}


def _open(
    model: str, decoding: Decoding, mix: Mix | None, led: Guides | Blocks | None, adapter: Path | None,
    dtype: DTypeName, base: str | None, control_tokens: bool, endpoint: EndpointSettings,
) -> Writer:  # fmt: skip
    from pluralign.lm.endpoint import endpoint_model
    from pluralign.steer.block_guides import Blocks
    from pluralign.steer.writers import open_policy_writer, open_writer

    if mix is None:
        return open_writer(
            model, decoding, adapter=adapter, guides=led, dtype=dtype, base=base,
            control_tokens=control_tokens, endpoint=endpoint,
        )  # fmt: skip
    if endpoint_model(model) is not None:
        raise InputError("an endpoint has no policies to mix; give their base model", field="model")
    blocks = led if isinstance(led, Blocks) else None
    return open_policy_writer(
        model, mix.folders, mix.weights, decoding, blocks=blocks, dtype=dtype, control_tokens=control_tokens
    )


_LEFT_OUT = {
    "repeated": "duplicate prompts used once",
    "empty": "empty prompts skipped",
    "unusable": "rows without a single prompt skipped",
    "cut": "prompts truncated from the left",
}
