"""Sides of a sweep over prompts: mixtures of policies and the alternatives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import Conversation, arguments_of
from pluralign.data.examples import Prompt
from pluralign.data.load import load_prompts
from pluralign.data.source import Data
from pluralign.evaluate.report.summary import mean_name
from pluralign.evaluate.sweeps.alternatives import Alternatives, FixedPolicy, GuidedModel, Writing
from pluralign.evaluate.sweeps.texts import Draw, Side, Weighting, Writer, weighted_writer
from pluralign.folders.card import ADAPTER, CARD, content_digest
from pluralign.folders.soups import soup_adapter, soup_backbone
from pluralign.lm.backbone import Backbone, resolve_dtype
from pluralign.lm.decoding import Decoding
from pluralign.lm.prompts import fit_prompts, prompt_ids
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policies import Policies, load_policies
from pluralign.steer.policy_folders import open_whole
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.prompting import trade_off_instruction, with_instruction
from pluralign.steer.value_guided import Guidance, open_value_guided_rows

_ROWS = 96
"""Number of rows (one per policy of a request) that are decoded together."""
_CANDIDATES = 1024
"""Number of next-token candidates that value models read together."""
_SOUPS = 16
"""Number of adapter soups in memory at once."""
_ALONE = "policy"

Ids = Callable[[Draw], Sequence[int]]


class SideBuilder:
    """Builds the sides of a sweep; stores the prompts and keeps one set of policies loaded at a time.

    Args:
        folders: Folder of each objective's policy.
        prompts: Source of the prompts (`load_prompts`).
        writing: Settings of text generation.
        descriptions: Descriptions of objectives, for prompting.
        limit: Largest number of prompts.

    Raises:
        InputError: A folder holds no policy or one of another model, or there is no prompt.
    """

    def __init__(
        self, folders: Mapping[str, Path], prompts: Data | Sequence[str], writing: Writing,
        descriptions: Mapping[str, str], limit: int | None = None,
    ) -> None:  # fmt: skip
        self._folders, self._writing, self._described = dict(folders), writing, descriptions
        # Compared with the names of folders, since a policy may be the model itself.
        self._model = str(Path(writing.model))
        self._opened: tuple[dict[str, Path], Policies] | None = None
        self._whole: dict[str, Backbone] = {}
        self._base_digest: str | None = None
        self.template = writing.template
        first = self._open(self._folders)
        self.template = first.template
        self._stops, self._shared, self._headed = first.stops, first.shared, first.headed
        self._template = first.conversations
        self.prompts = load_prompts(prompts, template=self._template, limit=limit)
        self._plain = self._fitted(first, [prompt.text for prompt in self.prompts])
        left_out = {name: n for name, n in self.prompts.counts.items() if n and name != "rows"}
        self.notes = [f"Prompts left out: {left_out}."] if left_out else []

    @property
    def example(self) -> str:
        """The instruction of prompting at equal weights."""
        return trade_off_instruction(
            SteeringWeights.uniform(list(self._folders)), list(self._folders), self._described
        )

    def sides(
        self, grid: Sequence[SteeringWeights], powers: Sequence[float], alternatives: Alternatives
    ) -> list[Side]:
        """The mixtures, one side per power; the alternatives; the base model.

        Args:
            grid: Weightings of the mixtures and of alternatives that take weights.
            powers: Powers of the mixtures.
            alternatives: Sides to compare with.

        Raises:
            InputError: A fixed policy or a value model has other objectives, or a weighting occurs twice.
        """
        found = [self._steered(grid, power) for power in powers]
        if "soups" in alternatives.baselines and self._headed:
            self.notes.append("Rewarded soups left out: the mean of heads is their geometric mixture.")
        elif "soups" in alternatives.baselines:
            found.append(self._soups(grid))
        if "prompting" in alternatives.baselines:
            found.append(self._prompting(grid))
        found += [self._guided(grid, one) for one in alternatives.guided]
        found += [self._mixed(one.label, grid, self._ordered(one.folders)) for one in alternatives.others]
        for label in dict.fromkeys(one.label for one in alternatives.fixed):
            found.append(self._fixed(label, [one for one in alternatives.fixed if one.label == label]))
        return [*found, self._base()]

    def _steered(self, grid: Sequence[SteeringWeights], power: float) -> Side:
        return self._mixed(f"steered ({mean_name(power)})", grid, self._folders, power)

    def _mixed(
        self, label: str, grid: Sequence[SteeringWeights], folders: Mapping[str, Path],
        power: float = GEOMETRIC,
    ) -> Side:  # fmt: skip
        return Side(
            label, [grid],
            lambda group: weighted_writer(
                self._open(folders).rows, power, self._weighted, self._decoding, self._lead
            ),
            self._made_from(folders, power=power), max(1, _ROWS // len(folders)),
        )  # fmt: skip

    def _ordered(self, folders: Mapping[str, Path]) -> dict[str, Path]:
        """Folders in the order of this sweep's objectives."""
        return {name: folders[name] for name in self._folders}

    def _guided(self, grid: Sequence[SteeringWeights], led: GuidedModel) -> Side:
        guidance = Guidance(led.strength)
        folders = self._ordered(led.folders)

        def opened(group: Sequence[Weighting]) -> Writer:
            self._opened = None
            dtype = resolve_dtype(self._writing.dtype)
            rows = open_value_guided_rows(self._model, folders, guidance, dtype=dtype)
            return weighted_writer(rows, GEOMETRIC, self._weighted, self._decoding, self._lead)

        # Each row reads this many candidates for its next token.
        batch = max(1, _CANDIDATES // (guidance.candidates * len(folders)))
        made_from = self._made_from(folders, strength=led.strength)
        return Side(f"value guided ({led.strength:g})", [grid], opened, made_from, batch)

    def _soups(self, grid: Sequence[SteeringWeights]) -> Side:
        size = _SOUPS if self._shared else 1
        groups = [grid[i : i + size] for i in range(0, len(grid), size)]
        made_from = self._made_from(self._folders)
        return Side("rewarded soups", groups, self._open_soups, made_from, _ROWS)

    def _open_soups(self, group: Sequence[Weighting]) -> Writer:
        names = {weights: str(number) for number, weights in enumerate(group)}
        if self._shared:
            rows = self._adapter_soups(names)
        else:
            (weights,) = group
            assert weights is not None
            self._opened = None
            dtype = resolve_dtype(self._writing.dtype)
            for name, folder in self._folders.items():
                if name not in self._whole:
                    self._whole[name] = open_whole(folder, self._model, dtype)
            rows = AdapterRows(soup_backbone(self._whole, weights), {names[weights]: None})
        return self._alone(rows, name=lambda draw: names[draw.weights])

    def _adapter_soups(self, names: Mapping[Weighting, str]) -> PolicyRows:
        with tempfile.TemporaryDirectory() as place:
            soups: dict[str, Path] = {}
            adapters = {name: self._adapter(folder) for name, folder in self._folders.items()}
            for weights, name in names.items():
                assert weights is not None
                soups[name] = Path(place) / name
                if any(weights[n] > 0 and adapter is not None for n, adapter in adapters.items()):
                    soup_adapter(adapters, weights, soups[name])
                else:
                    soups[name] = Path(self._model)
            return self._open(soups).rows

    def _adapter(self, folder: Path) -> Path | None:
        if str(folder) == self._model:
            return None
        return folder / ADAPTER if (folder / CARD).is_file() else folder

    def _prompting(self, grid: Sequence[SteeringWeights]) -> Side:
        asked: dict[SteeringWeights, list[list[int]]] = {}

        def opened(group: Sequence[Weighting]) -> Writer:
            deployment = self._open({_ALONE: Path(self._model)})
            for weights in grid:
                words = trade_off_instruction(weights, list(self._folders), self._described)
                asked[weights] = self._fitted(deployment, [self._instructed(p, words) for p in self.prompts])
            return self._alone(deployment.rows, ids)

        def ids(draw: Draw) -> Sequence[int]:
            assert draw.weights is not None
            return asked[draw.weights][draw.prompt]

        return Side("prompting", [grid], opened, self._made_from({}, instruction=self.example), _ROWS)

    def _instructed(self, prompt: Prompt, words: str) -> str:
        given = with_instruction(prompt.text if isinstance(prompt.given, str) else prompt.given, words)
        if isinstance(given, str):
            return given
        try:
            return self._template(given, True)
        except InputError:
            # Some templates have no system message; the instruction then precedes the first message.
            first, *rest = given[1:]
            merged = [{**first, "content": f"{words}\n\n{first['content']}"}, *rest]
            return self._template(Conversation(merged, arguments_of(given)), True)

    def _fixed(self, label: str, policies: Sequence[FixedPolicy]) -> Side:
        names = list(self._folders)
        folders = {
            SteeringWeights({n: one.weights.get(n, 0.0) for n in names}): one.folder for one in policies
        }
        if len(folders) < len(policies):
            raise InputError(f"'{label}' has a weighting twice", field="fixed")

        def opened(group: Sequence[Weighting]) -> Writer:
            (weights,) = group
            assert weights is not None
            return self._alone(self._open({_ALONE: folders[weights]}).rows)

        made_from = self._made_from({str(dict(weights)): folder for weights, folder in folders.items()})
        return Side(label, [[weights] for weights in folders], opened, made_from, _ROWS)

    def _base(self) -> Side:
        def opened(group: Sequence[Weighting]) -> Writer:
            return self._alone(self._open({_ALONE: Path(self._model)}).rows)

        return Side("base", [[None]], opened, self._made_from({}), _ROWS)

    def _weighted(self, draw: Draw) -> tuple[Sequence[int], SteeringWeights]:
        assert draw.weights is not None
        return self._plain[draw.prompt], draw.weights

    def _alone(
        self, rows: PolicyRows, ids: Ids | None = None, name: Callable[[Draw], str] = lambda draw: _ALONE
    ) -> Writer:
        """A writer that generates each text with one policy; ``ids`` are those of the prompts by default."""

        def request(draw: Draw) -> tuple[Sequence[int], SteeringWeights]:
            own = self._plain[draw.prompt] if ids is None else ids(draw)
            return own, SteeringWeights({name(draw): 1.0})

        return weighted_writer(rows, GEOMETRIC, request, self._decoding, self._lead)

    def _lead(self, draw: Draw) -> str:
        """The template's text before an answer; none where the prompt is a text."""
        return "" if isinstance(self.prompts[draw.prompt].given, str) else self._template.lead

    @property
    def _decoding(self) -> Decoding:
        return Decoding(self._writing.max_new_tokens, self._writing.temperature, stop=self._stops)

    def _open(self, folders: Mapping[str, Path]) -> Policies:
        if self._opened is None or self._opened[0] != folders:
            # The old set is released first, since memory may not hold two.
            self._opened = None
            self._whole.clear()
            deployment = load_policies(
                self._model, folders, dtype=self._writing.dtype, template=self.template,
                control_tokens=self._writing.control_tokens,
            )  # fmt: skip
            self._opened = dict(folders), deployment
        return self._opened[1]

    def _fitted(self, deployment: Policies, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, truncated from the left to the context."""
        ids = [prompt_ids(deployment.tokenizer, text) for text in texts]
        return fit_prompts(ids, deployment.context, self._writing.max_new_tokens)[0]

    def _made_from(self, folders: Mapping[str, Path], **more: Any) -> dict[str, Any]:
        writing, policies = self._writing, {name: content_digest(folder) for name, folder in folders.items()}
        dtype = resolve_dtype(writing.dtype)
        # Version 0.1.0 wrote the precision as "exact" and knew two; its unfinished texts are continued.
        known = dtype in (torch.float32, resolve_dtype("auto"))
        if self._base_digest is None:
            self._base_digest = content_digest(Path(self._model)).get("file_digest", "")
        return {
            "model": writing.model, "policies": policies,
            "max_new_tokens": writing.max_new_tokens, "temperature": writing.temperature,
            "template": self.template, "exact": writing.dtype == "float32",
            **({"model_digest": self._base_digest} if self._base_digest else {}),
            **({} if known else {"dtype": str(dtype).removeprefix("torch.")}),
            **({"control_tokens": True} if writing.control_tokens else {}), **more,
        }  # fmt: skip
