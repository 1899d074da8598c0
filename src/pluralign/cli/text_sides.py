"""The sides of a sweep over prompts: mixtures of policies, soups, one model asked in words, and others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from pluralign.cli.sweep_texts import FixedPolicy, GuidedModel, TextSettings
from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.core.digests import source_digest
from pluralign.core.messages import Messages
from pluralign.data import Prompt, load_prompts
from pluralign.evaluate.report.summary import mean_name
from pluralign.evaluate.sweeps.texts import Draw, Side, Weighting, Writer, mixture_writer
from pluralign.folders.card import ADAPTER, CARD, read_card
from pluralign.folders.soups import soup_adapter, soup_backbone
from pluralign.lm.backbone import Backbone, fast_dtype
from pluralign.lm.decoding import Decoding
from pluralign.lm.prompts import TEMPLATES, fit_prompts, prompt_ids
from pluralign.rewards.value_model import KIND as VALUES
from pluralign.steer import GEOMETRIC
from pluralign.steer.policies import Policies, load_policies
from pluralign.steer.policy_folders import open_whole
from pluralign.steer.policy_rows import AdapterRows, PolicyRows
from pluralign.steer.prompting import trade_off_instruction, with_instruction
from pluralign.steer.value_guided import Guidance, open_value_guided_rows

_ROWS = 96
"""Rows (a request's policies) that are continued together."""
_CANDIDATES = 1024
"""Candidates for next tokens that value models look at together."""
_SOUPS = 16
"""Soups of adapters that are held together."""
_ALONE = "policy"

Ids = Callable[[Draw], Sequence[int]]


class Table:
    """Everything that sides share: the prompts, and the policies, of which one set is open at a time.

    Args:
        folders: of each objective's policy.
        prompts: the file of prompts.
        settings: of the sweep.
        described: what objectives mean.

    Raises:
        InputError: a folder holds no policy, one of another model, or there is no prompt.
    """

    def __init__(
        self, folders: Mapping[str, Path], prompts: str, settings: TextSettings, described: Mapping[str, str]
    ) -> None:
        self._folders, self._settings, self._described = dict(folders), settings, described
        # A folder's name is compared with the model's, to tell whether a policy is the model itself.
        self._model = str(Path(settings.model))
        self._opened: tuple[dict[str, Path], Policies] | None = None
        self._whole: dict[str, Backbone] = {}
        self.template = settings.template
        first = self._open(self._folders)
        self.template = first.template
        self._stops, self._shared = first.stops, first.shared
        render = TEMPLATES[first.template](first.tokenizer)
        self._render = lambda messages: render(messages, True)
        self.prompts = load_prompts(prompts, template=render, limit=settings.limit)
        self._plain = self._fitted(first, [prompt.text for prompt in self.prompts])
        left_out = {name: n for name, n in self.prompts.counts.items() if n and name != "rows"}
        self.notes = [f"Prompts that were left out: {left_out}."] if left_out else []

    @property
    def example(self) -> str:
        """How prompting asks, at equal weights."""
        return trade_off_instruction(
            SteeringWeights.uniform(list(self._folders)), list(self._folders), self._described
        )

    def sides(
        self, steps: int, powers: Sequence[float], fixed: Sequence[FixedPolicy],
        guided: Sequence[GuidedModel],
    ) -> list[Side]:  # fmt: skip
        """Mixtures first, one side for each power; the base model last."""
        grid = simplex_grid(list(self._folders), steps)
        found = [self._steered(grid, power) for power in powers]
        if "soups" in self._settings.baselines:
            found.append(self._soups(grid))
        if "prompting" in self._settings.baselines:
            found.append(self._prompting(grid))
        found += [self._guided(grid, one) for one in guided]
        for label in dict.fromkeys(one.label for one in fixed):
            found.append(self._fixed(label, [one for one in fixed if one.label == label]))
        return [*found, self._base()]

    def _steered(self, grid: Sequence[SteeringWeights], power: float) -> Side:
        def request(draw: Draw) -> tuple[Sequence[int], SteeringWeights]:
            assert draw.weights is not None
            return self._plain[draw.prompt], draw.weights

        return Side(
            f"steered ({mean_name(power)})", [grid],
            lambda group: mixture_writer(self._open(self._folders).rows, power, request, self._decoding),
            self._made_from(self._folders, power=power), max(1, _ROWS // len(self._folders)),
        )  # fmt: skip

    def _guided(self, grid: Sequence[SteeringWeights], led: GuidedModel) -> Side:
        guidance = Guidance(led.strength)
        for folder in led.folders.values():
            read_card(folder, VALUES)

        def request(draw: Draw) -> tuple[Sequence[int], SteeringWeights]:
            assert draw.weights is not None
            return self._plain[draw.prompt], draw.weights

        def opened(group: Sequence[Weighting]) -> Writer:
            self._opened = None
            dtype = torch.float32 if self._settings.exact else fast_dtype()
            rows = open_value_guided_rows(self._model, led.folders, guidance, dtype=dtype)
            return mixture_writer(rows, GEOMETRIC, request, self._decoding)

        # Each row looks at so many candidates for its next token.
        batch = max(1, _CANDIDATES // (guidance.candidates * len(led.folders)))
        made_from = self._made_from(led.folders, strength=led.strength)
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
            dtype = torch.float32 if self._settings.exact else fast_dtype()
            for name, folder in self._folders.items():
                if name not in self._whole:
                    self._whole[name] = open_whole(folder, self._model, dtype)
            rows = AdapterRows(soup_backbone(self._whole, weights), {names[weights]: None})
        return self._alone(rows, lambda draw: self._plain[draw.prompt], lambda draw: names[draw.weights])

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
        told = with_instruction(prompt.given, words)
        if isinstance(told, str):
            return told
        try:
            return self._render(told)
        except TemplateError:
            # Some models know no system message: the first message takes it in.
            first, *rest = told[1:]
            merged: Messages = [{**first, "content": f"{words}\n\n{first['content']}"}, *rest]
            return self._render(merged)

    def _fixed(self, label: str, policies: Sequence[FixedPolicy]) -> Side:
        folders = {one.weights: one.folder for one in policies}
        if len(folders) < len(policies):
            raise InputError(f"'{label}' has one weighting twice", field="fixed")

        def opened(group: Sequence[Weighting]) -> Writer:
            (weights,) = group
            assert weights is not None
            return self._alone(
                self._open({_ALONE: folders[weights]}).rows, lambda draw: self._plain[draw.prompt]
            )

        made_from = self._made_from({str(dict(weights)): folder for weights, folder in folders.items()})
        return Side(label, [[weights] for weights in folders], opened, made_from, _ROWS)

    def _base(self) -> Side:
        def opened(group: Sequence[Weighting]) -> Writer:
            rows = self._open({_ALONE: Path(self._model)}).rows
            return self._alone(rows, lambda draw: self._plain[draw.prompt])

        return Side("base", [[None]], opened, self._made_from({}), _ROWS)

    def _alone(self, rows: PolicyRows, ids: Ids, name: Callable[[Draw], str] = lambda draw: _ALONE) -> Writer:
        """A writer of texts of which each is one policy's."""

        def request(draw: Draw) -> tuple[Sequence[int], SteeringWeights]:
            return ids(draw), SteeringWeights({name(draw): 1.0})

        return mixture_writer(rows, GEOMETRIC, request, self._decoding)

    @property
    def _decoding(self) -> Decoding:
        settings = self._settings
        return Decoding(settings.max_new_tokens, settings.temperature, stop=self._stops)

    def _open(self, folders: Mapping[str, Path]) -> Policies:
        if self._opened is None or self._opened[0] != folders:
            # What was open before is let go first: two sets need not fit the memory.
            self._opened = None
            self._whole.clear()
            deployment = load_policies(
                self._model,
                folders,
                dtype="float32" if self._settings.exact else "auto",
                template=self.template,
            )
            self._opened = dict(folders), deployment
        return self._opened[1]

    def _fitted(self, deployment: Policies, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of prompts; of one longer than the context the end is kept."""
        ids = [prompt_ids(deployment.tokenizer, text) for text in texts]
        return fit_prompts(ids, deployment.context, self._settings.max_new_tokens)[0]

    def _made_from(self, folders: Mapping[str, Path], **more: Any) -> dict[str, Any]:
        settings, policies = self._settings, {name: _identity(folder) for name, folder in folders.items()}
        return {
            "model": settings.model, "policies": policies,
            "max_new_tokens": settings.max_new_tokens, "temperature": settings.temperature,
            "template": self.template, "exact": settings.exact, **more,
        }  # fmt: skip


def _identity(folder: Path) -> dict[str, str]:
    """What tells two states of a folder apart: its card, or its adapter."""
    for name in (CARD, "adapter_model.safetensors"):
        if (folder / name).is_file():
            return source_digest(folder / name)
    return {"file": str(folder)}
