"""A file of prompts to a file of completions, with provenance in each row; an interrupted run continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pluralign.core import InputError, SteeringWeights
from pluralign.core.digests import source_digest
from pluralign.data.load import load_prompts
from pluralign.folders.card import content_digest
from pluralign.lm.decoding import Decoding
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint import endpoint_model
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.block_guides import Blocks
from pluralign.steer.budget import Budget
from pluralign.steer.prompt_prior import load_prompt_value
from pluralign.steer.writers import Guides, open_policy_writer, open_writer, write_completions
from pluralign.steer.writing import Writer

_LEFT_OUT = {
    "repeated": "duplicate prompts used once",
    "empty": "empty prompts skipped",
    "unusable": "rows without a single prompt skipped",
    "cut": "prompts truncated from the left",
}


@dataclass(frozen=True)
class Mix:
    """Policies that are mixed.

    Args:
        folders: Folder of each policy, by objective.
        weights: Weights of the policies.

    Raises:
        InputError: A weight names an objective without a policy.
    """

    folders: Mapping[str, str | Path]
    weights: SteeringWeights

    def __post_init__(self) -> None:
        self.weights.require_known(tuple(self.folders))

    def described(self) -> dict[str, Any]:
        """Columns that record the mixture in each row."""
        named = {name: str(folder) for name, folder in self.folders.items()}
        return {"policies": named, "weights": dict(self.weights)}

    def digests(self) -> dict[str, Any]:
        """Digests of the folders (`content_digest`)."""
        return {name: content_digest(Path(folder)) for name, folder in self.folders.items()}


@dataclass(frozen=True)
class GeneratedFile:
    """What `generate_file` wrote.

    Args:
        counts: Numbers of rows, of prompts that were repeated, empty or unusable, and of truncated ones
            (``cut``).
        drawn: Number of completions of each prompt.
        most: Largest number of completions of a prompt under a budget; None without one.
    """

    counts: Mapping[str, int]
    drawn: Sequence[int]
    most: int | None = None

    def lines(self) -> list[str]:
        """What was written and left out and, under a budget, how many completions the prompts have."""
        found = [
            f"{value} {_LEFT_OUT[name]}" for name, value in self.counts.items() if value and name in _LEFT_OUT
        ]
        lines = ["; ".join([f"{sum(self.drawn)} completions of {len(self.drawn)} prompts", *found])]
        if self.most is not None:
            mean, full = sum(self.drawn) / len(self.drawn), self.drawn.count(self.most)
            lines.append(
                f"samples of a prompt: {min(self.drawn)} to {max(self.drawn)}, {mean:.1f} on average; {full} "
                "at the largest"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        number = len(self.drawn)
        figures = {**self.counts, "prompts": number, "completions": sum(self.drawn)}
        if self.most is None:
            return figures
        full = self.drawn.count(self.most)
        return {**figures, "mean_samples": sum(self.drawn) / number, "prompts_at_most": full}


def generate_file(
    prompts: str | Path, out: str | Path, model: str = DEFAULT_MODEL, decoding: Decoding | None = None, *,
    samples: int | Budget = 1, mix: Mix | None = None, guides: Guides | Blocks | None = None, seed: int = 0,
    limit: int | None = None, adapter: Path | None = None, dtype: DTypeName = "auto", base: str | None = None,
    control_tokens: bool = False, context: str | None = None, context_model: str = DEFAULT_MODEL,
    endpoint: EndpointSettings | None = None, shown: bool = True,
) -> GeneratedFile:  # fmt: skip
    """Complete the prompts of a file with a model, a trained policy, a mixture of policies, or an endpoint.

    A completion depends on its prompt, its sample number and the seed only, not on the other prompts.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     asked, out = Path(folder) / "prompts.txt", Path(folder) / "draws.jsonl"
    ...     _ = asked.write_text("Say a word:")
    ...     found = generate_file(asked, out, "tiny-random", Decoding(max_new_tokens=4), shown=False)
    >>> found.lines()
    ['1 completions of 1 prompts']

    Args:
        prompts: File, folder or hub id; see `load_prompts`.
        out: JSON-lines file to write; see `write_completions`. Rows also have the model, the adapter, how
            tokens were chosen, the seed, and the mixture and guides, if there are any.
        model: Model; with ``mix`` the base model of the policies. See `open_writer`.
        decoding: Sampling settings.
        samples: Number of completions per prompt, or a budget, by which their rewards decide it.
        mix: Policies that are mixed in place of a single model.
        guides: Value models that guide every token, or guides of blocks; only the latter guide a mixture.
        seed: Random seed.
        limit: Largest number of prompts; the first ones are used.
        adapter: Folder of a PEFT adapter of the model.
        dtype: Floating-point type of the weights; ``auto`` is bfloat16 if the hardware supports it well.
        base: Base model of a trained policy's folder, if it was moved.
        control_tokens: Whether prompts that are texts may contain control tokens by name.
        context: Scored completions of other prompts by the same model and reward, which predict the prior
            values of a budget (`load_prompt_value`).
        context_model: Frozen model whose features describe the prompts for the context.
        endpoint: Requests to an endpoint.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: Settings do not go together; or see `load_prompts`, `open_writer`, `open_policy_writer`
            and `write_completions`.
    """
    decoding, out = decoding or Decoding(), Path(out)
    _require_fitting(samples, decoding, context)
    writer = _open(model, decoding, mix, guides, adapter, dtype, base, control_tokens, endpoint)
    found = load_prompts(prompts, template=writer.template, limit=limit)
    given = [prompt.given for prompt in found]
    counts = {**found.counts, "cut": writer.cut(given)}
    # What files have held so far comes first, and other settings only if they are not the usual ones.
    usual = asdict(Decoding(decoding.max_new_tokens, decoding.temperature))
    chosen = {name: value for name, value in asdict(decoding).items() if value != usual[name]}
    columns = {
        "model": model, "adapter": None if adapter is None else str(adapter),
        "max_new_tokens": decoding.max_new_tokens, "temperature": decoding.temperature, **chosen,
        "seed": seed, **({} if mix is None else mix.described()),
        **({} if guides is None else guides.described()),
    }  # fmt: skip
    run: dict[str, Any] = {
        "prompts": source_digest(prompts), "dtype": dtype, "limit": limit,
        "folders": [content_digest(Path(place)) for place in (model, adapter) if place is not None],
    }  # fmt: skip
    if control_tokens:
        run["control_tokens"] = True
    if guides is not None:
        run["guide_cards"] = guides.digests()
    if mix is not None:
        run["policy_cards"] = mix.digests()
    if context is not None and isinstance(samples, Budget):
        value = load_prompt_value(context, context_model, template=writer.template)
        samples = replace(samples, prior=value.predict([prompt.text for prompt in found]))
    drawn = write_completions(
        writer, given, out, samples=samples, seed=seed, columns=columns, run=run, shown=shown
    )
    return GeneratedFile(counts, drawn, samples.most if isinstance(samples, Budget) else None)


def _require_fitting(samples: int | Budget, decoding: Decoding, context: str | None) -> None:
    if not isinstance(samples, Budget):
        if context is not None:
            raise InputError("requires a budget of samples", field="context")
        return
    if decoding.temperature == 0:
        raise InputError("at 0, all samples of a prompt are the same", field="temperature")
    if context is not None and len(samples.rewards) > 1:
        raise InputError("holds values of one reward, and does not apply to several", field="context")


def _open(
    model: str, decoding: Decoding, mix: Mix | None, guides: Guides | Blocks | None, adapter: Path | None,
    dtype: DTypeName, base: str | None, control_tokens: bool, endpoint: EndpointSettings | None,
) -> Writer:  # fmt: skip
    if mix is None:
        return open_writer(
            model, decoding, adapter=adapter, guides=guides, dtype=dtype, base=base,
            control_tokens=control_tokens, endpoint=endpoint,
        )  # fmt: skip
    if adapter is not None or base is not None:
        raise InputError("does not apply to policies", field="base" if adapter is None else "adapter")
    if isinstance(guides, Guides):
        raise InputError("guide every token of a single model; policies take Blocks", field="guides")
    if endpoint_model(model) is not None:
        raise InputError("an endpoint has no policies to mix; give their base model", field="model")
    # A policy of weight zero is not loaded; one may be a whole model.
    used = {name: weight for name, weight in mix.weights.items() if weight > 0}
    folders = {name: Path(mix.folders[name]) for name in used}
    return open_policy_writer(
        model,
        folders,
        SteeringWeights(used),
        decoding,
        blocks=guides,
        dtype=dtype,
        control_tokens=control_tokens,
    )
