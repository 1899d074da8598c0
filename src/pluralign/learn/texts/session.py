"""Steps that all trainers on texts share: data, trunk, training loop, output folder.

A trainer is a function of rows and a `Run`. It creates a `Session`, trains a `BatchLoss` with
`Session.train`, and ends with `Session.finish_reward_model`, `finish_policy` or `finish_value_model`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pluralign.core import Demonstration, Examples, InputError, PreferencePair
from pluralign.data.examples import RankedCompletions
from pluralign.data.reading import learned_template
from pluralign.folders.card import TRUNK, Card, current_versions, write_folder
from pluralign.folders.tuned import describe_backbone, load_language_policy
from pluralign.learn.engine import processes, train_phase
from pluralign.learn.phase import Phase, require_trackers
from pluralign.learn.run_folder import check_folder, claim_folder
from pluralign.learn.steps import StepLoss
from pluralign.learn.texts.data import CompletionData, IdenticalPairs, split_rows
from pluralign.learn.texts.encoding import encode_rows, require_certain
from pluralign.learn.texts.precision import is_mixed, trunk_dtype
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import BatchLoss, ForestLoss, row_rewards
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.adapters import is_adapted
from pluralign.lm.backbone import Backbone, load_backbone, make_backbone
from pluralign.lm.completion_trees import CompletionReader, describe_cuts
from pluralign.lm.precision import in_dtype
from pluralign.losses.contrastive import labelled_accuracy
from pluralign.rewards.heads import RewardHead
from pluralign.rewards.reward_model import RewardModel, RewardSettings, load_reward_model, save_reward_model
from pluralign.rewards.value_head import ValueHead
from pluralign.rewards.value_model import RewardScale, ValueModel, load_value_model, save_value_model

_log = logging.getLogger(__name__)


class Session:
    """One training run, from its data to its output folder.

    Attributes for trainers: ``trunk`` (the model being trained), ``data`` and ``validation`` (rows as trees),
    ``objective`` (name of the rows' objective), ``max_length`` (that of the training, at most the model's
    context), ``backbone`` (model and tokenizer), ``out`` (folder).

    Args:
        method: Name of the method, for the card.
        run: Model, folder, training options, seed.
        settings: Settings of the method, for the card; other settings make another run.
        rows: All pairs, demonstrations or lists. The split ``train`` is used for training and ``validation``
            for measurement; ``test`` is not used.
        demonstrations: Whether to train on single completions: demonstrations, or the chosen completions of
            pairs.
        vocabulary: Whether the loss uses the vocabulary head.
        label_weights: Whether the loss applies the probabilities of labels.
        identical: Whether pairs with identical completions are learned from; else they are left out.
        head: Whether a method with the vocabulary head has a head of its own too.
        lists: Whether the rows are ranked lists.
        several: Whether the pairs may have several objectives.

    Raises:
        InputError: There is no training row, nothing would be trained, a label may be wrong but the loss does
            not apply label weights, messages were rendered with another template than requested, or the
            folder holds another run.
    """

    def __init__(
        self, method: str, run: Run, settings: Mapping[str, Any],
        rows: Sequence[PreferencePair] | Sequence[Demonstration] | Sequence[RankedCompletions], *,
        demonstrations: bool = False, vocabulary: bool = False, label_weights: bool = False,
        identical: bool = False, head: bool = False, lists: bool = False, several: bool = False,
    ) -> None:  # fmt: skip
        if run.training.layers == 0 and vocabulary and not head:
            raise InputError(f"0 trains heads alone, and {method} has none; give 1 or more", field="layers")
        self.started = time.monotonic()
        if isinstance(rows, Examples):
            run = dataclasses.replace(run, provenance={**rows.source, **run.provenance})
        self.method, self.run, self.settings = method, run, settings
        kind = RankedCompletions if lists else PreferencePair | Demonstration
        train, validation = split_rows(rows, run.provenance.get("file"), kind)
        if not demonstrations and any(isinstance(row, Demonstration) for row in train):
            raise InputError(f"{method} requires preference pairs; these are demonstrations")
        self.objective, self._several = "" if several else train[0].objective, several
        if run.out is None:
            raise InputError("a session needs a folder; see folder_optional", field="out")
        self.out = Path(run.out)
        require_trackers(run.training.report_to)
        processes()  # where several processes train, each gets its device
        # A separate copy of the trunk: training changes its weights.
        self.backbone: Backbone = load_backbone(
            run.model, dtype=trunk_dtype(run.training), load_in=run.training.load_in
        )
        self.quoted = run.has_quoted(rows)
        self.max_length = self.reader().max_length
        if self.max_length < run.training.max_length:
            _log.warning(
                "max_length %d exceeds the model's context of %d tokens, which is used instead",
                run.training.max_length, self.max_length,
            )  # fmt: skip
        self.template = learned_template(rows, run.template, self.backbone.tokenizer)
        self.data = encode_rows(
            train, self.reader(), single=demonstrations, identical=identical, several=several
        )
        if not label_weights:
            require_certain([train[number] for number in self.data.kept], method)
        if cuts := describe_cuts(self.data.counts):
            _log.warning("max_length %d: %s", self.max_length, cuts)
        self.validation = self._read_validation(validation)
        self._described = describe_backbone(self.backbone)
        run_record = self._record()
        # Recorded below, once the trunk has not refused anything.
        check_folder(self.out, run_record)
        trees = [*self.data.trees, *(self.validation.trees if self.validation else [])]
        training = run.training
        self.trunk = TunedTrunk(
            self.backbone, trees, lora_rank=training.lora_rank, layers=training.layers,
            vocabulary=vocabulary, lower=run.lower, bf16=is_mixed(training), seed=run.seed,
            checkpointing=training.gradient_checkpointing, lora_alpha=training.lora_alpha,
            target_modules=training.target_modules,
        )  # fmt: skip
        claim_folder(self.out, run_record)

    def train(
        self, module: BatchLoss | StepLoss, data: CompletionData | None = None, part: str = "training"
    ) -> list[dict[str, float]]:
        """Train the trunk and the method's heads, from the last checkpoint if there is one.

        Args:
            module: Heads and loss of the method; or the loss of a step's rows, trunk included.
            data: Rows; by default the session's.
            part: Name of the checkpoint folder, for methods that train several times.

        Returns:
            The training curve: ``[{"step", "loss"}]``.
        """
        training, data = self.run.training, data or self.data
        phase = Phase(
            self.method, self.out / "checkpoints" / part, len(data), training.steps(len(data)),
            training.batch_size, training.learning_rate, training.weight_decay, self.run.seed,
            training.warmup, is_mixed(training), training.lr_scheduler_type, training.max_grad_norm,
            training.report_to,
        )  # fmt: skip
        if isinstance(module, BatchLoss):
            module = ForestLoss(self.trunk, module, data, training.token_budget)
        return train_phase(module, phase)

    def writer(self) -> Backbone:
        """A copy of the current language model, for sampling completions."""
        model: Any = copy.deepcopy(self.trunk.model)
        if self.backbone.source:
            return self._loaded(model)
        if is_adapted(model):
            model = model.merge_and_unload()
        dtype = torch.bfloat16 if is_mixed(self.run.training) else torch.float32
        return self._loaded(in_dtype(model.requires_grad_(False), dtype))

    def finish_reward_model(
        self, head: RewardHead, curve: Sequence[Mapping[str, float]], *, policy: bool
    ) -> RewardModel:
        """Measure, write the reward model's folder, and return the model as `load_reward_model` reads it."""
        figures: dict[str, Any] = {"curve": curve, **self._validation_accuracy(head)}
        if self.run.measure is not None:
            figures |= self.run.measure(self.trunk, head)
        settings = self._settings()
        trained = self._loaded(self.trunk.model)
        model = RewardModel(self.name, trained, head, settings, self._card(figures))
        out, adapter = self.out, self._adapter()
        with processes().main_process_first():
            if processes().is_main_process:
                save_reward_model(out, model, self._tensors(), policy=policy, adapter=adapter)
        return model if self._stays_loaded else load_reward_model(out)

    def finish_policy(self, figures: Mapping[str, Any]) -> Backbone:
        """Write the policy's folder, and return the language model as `load_language_policy` reads it."""
        self.write("language_policy", {"policy": True}, figures)
        return self._loaded(self.trunk.model) if self._stays_loaded else load_language_policy(self.out)

    def write(
        self, kind: str, content: Mapping[str, Any], figures: Mapping[str, Any],
        files: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:  # fmt: skip
        """Write the output folder of a language model, with further files of tensors."""
        content = {"name": self.name, **content, "template": self.template}
        content |= {"control_tokens": True} if self.run.control_tokens else {}
        files = {**({TRUNK: tensors} if (tensors := self._tensors()) else {}), **(files or {})}
        with processes().main_process_first():
            if processes().is_main_process:
                write_folder(self.out, kind, self._card(figures), content, files, self._adapter())

    def finish_value_model(
        self, head: ValueHead, scale: RewardScale, figures: Mapping[str, Any]
    ) -> ValueModel:
        """Write the value model's folder, and return the model as `load_value_model` reads it."""
        settings = self._settings()
        trained = self._loaded(self.trunk.model)
        model = ValueModel(self.name, trained, head, scale, settings, self._card(figures))
        with processes().main_process_first():
            if processes().is_main_process:
                save_value_model(self.out, model, self._tensors(), self._adapter())
        return model if self._stays_loaded else load_value_model(self.out)

    @property
    def _stays_loaded(self) -> bool:
        """Whether the result is the model in memory: a trunk in less than float32 may not fit there twice."""
        return bool(self.backbone.source) or self.backbone.dtype != torch.float32

    def _loaded(self, model: Any) -> Backbone:
        return make_backbone(model, self.backbone.tokenizer, self.name, self.backbone.source)

    def _validation_accuracy(self, head: RewardHead) -> dict[str, float]:
        """Share of the labelled validation pairs that the head orders as labelled, if there are any."""
        if self.validation is None or self.validation.places.shape[1] < 2:
            return {}
        training = self.run.training
        rewards = row_rewards(
            self.trunk, head, self.validation, token_budget=training.token_budget, bf16=is_mixed(training)
        )
        found = labelled_accuracy(rewards[:, 0] - rewards[:, 1], self.validation.weights)
        return {} if found is None else {"validation_accuracy": round(found, 4)}

    @property
    def name(self) -> str:
        """Name of the result in reports."""
        return self.run.name or self.objective or self.method

    def _settings(self) -> RewardSettings:
        return RewardSettings(self.max_length, self.template, control_tokens=self.run.control_tokens)

    def reader(self) -> CompletionReader:
        """A reader of texts for the model, with counts of its own."""
        length, quotes = self.run.training.max_length, not self.quoted
        return CompletionReader.for_model(self.backbone.model, self.backbone.tokenizer, length, quotes=quotes)

    def _read_validation(
        self, rows: Sequence[PreferencePair | Demonstration | RankedCompletions]
    ) -> CompletionData | None:
        """Both completions of pairs, even if only chosen ones are trained on: the accuracy needs both."""
        try:
            return encode_rows(rows, self.reader(), several=self._several) if rows else None
        except IdenticalPairs as error:
            _log.warning("validation: %s", error)
            return None

    def _record(self) -> dict[str, Any]:
        """What distinguishes this run from others."""
        training = dataclasses.asdict(self.run.training)
        # These bound memory or report, and do not change results (except for the last bits); the backbone's
        # description has its type.
        for name in ("token_budget", "gradient_checkpointing", "report_to", "dtype", "load_in"):
            training.pop(name)
        # Fields that runs of 0.1.0 do not have are recorded where they are not the defaults.
        for name in ("lora_alpha", "target_modules", "lr_scheduler_type", "max_grad_norm"):
            if training[name] == getattr(Training, name):
                training.pop(name)
        return {
            "method": self.method, "training": training, "config": self.settings,
            "data": self.data.digest(), "seed": self.run.seed, "backbone": self._described,
        }  # fmt: skip

    def _card(self, figures: Mapping[str, Any]) -> Card:
        counts = {
            "digest": self.data.digest(),
            **self.data.counts,
            "completion_tokens": self.data.completion_tokens,
        }
        if self.validation is not None:
            kind = next(one for one in ("pairs", "lists", "demonstrations") if one in self.validation.counts)
            counts[f"validation_{kind}"] = len(self.validation)
            if identical := self.validation.counts.get("identical_pairs"):
                counts["validation_identical_pairs"] = identical
        config = {"training": dataclasses.asdict(self.run.training), **self.settings}
        seconds = round(time.monotonic() - self.started, 2)
        return Card(
            self.method, self.objective, self.run.seed, config, {**self.run.provenance, **counts},
            self._described, {**figures, "seconds": seconds}, current_versions(),
        )  # fmt: skip

    def _adapter(self) -> Any:
        return self.trunk.model if is_adapted(self.trunk.model) else None

    def _tensors(self) -> dict[str, Tensor]:
        return {} if self._adapter() is not None else self.trunk.changed()
