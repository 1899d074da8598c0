"""``pluralign generate``: model or trained policy x prompts -> completions."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, Requests, say, wrote
from pluralign.cli.guides import BlockOption, RewardDistribution, read_samples, read_steering
from pluralign.core import InputError
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import DEFAULT_MODEL


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
    """Complete prompts with a language model, an endpoint, or a policy of texts (learn dpo, sft, rl, ...).

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
    from pluralign.steer.generate import generate_file

    wanted = read_samples(samples, price, rewards, reward_weights, reward_distribution, context,
                          context_model, dtype)  # fmt: skip
    mix, led = read_steering(
        policies, guides, weights, guide_weights, strength, candidates, block, draws, block_tokens, dtype
    )
    if mix is not None and (adapter is not None or base is not None):
        raise InputError("does not apply to --policies", field="base" if adapter is None else "adapter")
    found = generate_file(
        prompts, out, model, Decoding(max_new_tokens, temperature), samples=wanted, mix=mix, guides=led,
        seed=seed, limit=limit, adapter=adapter, dtype=dtype, base=base, control_tokens=control_tokens,
        context=context, context_model=context_model or DEFAULT_MODEL, endpoint=endpoint,
    )  # fmt: skip
    written, *more = found.lines()
    wrote(out, written)
    for line in more:
        say(line)
    return found.to_json()
