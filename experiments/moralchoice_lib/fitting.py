"""Folds, pairs and one cross-fitted CPL agent per rule."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from console import say

from moralchoice_lib.data import OBJECTIVES, Case, make_trajectories
from pluralign.annotate.annotator import annotate_comparisons
from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.oracle import Oracle
from pluralign.core import (
    Comparison,
    Decision,
    InputError,
    Policy,
    PreferencePair,
    SteeringWeights,
)
from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.core.records import read_pairs, write_records
from pluralign.core.splits import seed_for
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.options.checkpoint import load_card, load_policy
from pluralign.options.features import FeatureSource
from pluralign.options.open import DEFAULT_MODEL
from pluralign.options.option_policy import OptionPolicy
from pluralign.pair.pairs import pair
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered_policy import SteeredPolicy

ROOT = Path(__file__).resolve().parents[2]


# One value each for settings that only scale the loss on one-step pairs. lambda 1 (the poster's eq. 1) makes
# CPL a logistic regression on the difference of the two scores. There is no behaviour cloning, since neither
# action was taken by anyone.
BASE = CPLConfig(conservative_bias=1.0, bc_share=0.0)


GRID = tuple(
    dataclasses.replace(BASE, hidden=hidden, steps=steps, weight_decay=decay)
    for hidden in (0, 64)
    for steps, decay in ((60, 0.01), (200, 0.01), (200, 10.0))
)


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with low_ambiguity.jsonl.gz and high_ambiguity.jsonl.gz.
        out: Working folder: features, annotations, pairs, trained agents.
        results: Folder of moralchoice.json, .md and .svg.
        model: Model of the features and of the likelihood baseline.
        folds: Number of folds of the cross-fitting; each is the test split once.
        seeds: Number of training runs whose log-probabilities are averaged into one agent.
        seed: Random seed of positions, folds, training and resampling.
    """

    data: Path
    out: Path = ROOT / "runs" / "moralchoice"
    results: Path = ROOT / "experiments" / "results"
    model: str = DEFAULT_MODEL
    folds: int = 5
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, lowest in (("folds", 2), ("seeds", 1), ("seed", 0)):
            if getattr(self, name) < lowest:
                raise InputError(f"must be {lowest} or more, found {getattr(self, name)}", field=name)


def fold_of(name: str, folds: int, seed: int) -> int:
    """The test fold of a decision, by a hash of its id."""
    return seed_for(f"fold of {name}", seed) % folds


def make_all_pairs(cases: Sequence[Case], settings: Settings) -> dict[str, list[PreferencePair]]:
    """Write trajectories, the oracle's annotations and the pairs; return the pairs of each rule."""
    trajectories = make_trajectories(cases)
    path = settings.out / "trajectories.jsonl"
    write_records(path, "trajectories", trajectories)
    comparisons = make_comparisons(trajectories, count=len(cases), seed=settings.seed, anchor="same_decision")
    by_prompt = {case.decision.prompt: case for case in cases}
    made_of = {"trajectories": digest([path.read_bytes()])}
    oracle = Oracle(trajectories, seed=settings.seed)
    pairs: dict[str, list[PreferencePair]] = {}
    for rule, objective in OBJECTIVES.items():
        annotations = settings.out / "annotations" / f"{rule}.jsonl"
        asked = [c for c in comparisons if by_prompt[_prompt(c)].known(rule)]
        annotate_comparisons(asked, annotations, objective, oracle, made_of=made_of, progress=False)
        # The library splits by trajectory; the folds here are by decision, so all pairs are in one split.
        out = settings.out / "pairs" / f"{rule}.jsonl"
        found = pair([annotations], out, objective=rule, shares=(1.0, 0.0, 0.0))
        pairs[rule] = read_pairs(out)
        say(f"  {rule:14} {len(found):4} pairs, {found.counts['ties']} ties dropped")
    return pairs


def _prompt(comparison: Comparison) -> str:
    return comparison.first.steps[0].decision.prompt


def assign_splits(
    pairs: Sequence[PreferencePair],
    names: Mapping[str, str],
    fold: int,
    settings: Settings,
    *,
    validate: bool,
) -> list[PreferencePair]:
    """The pairs that one fold's agents may see.

    Args:
        pairs: Pairs of one rule.
        names: Id of a decision by its prompt.
        fold: Held-out fold; its pairs are left out.
        settings: See `Settings`.
        validate: Whether a fifth of the remaining pairs is the split ``validation``; otherwise all are
            ``train``.
    """
    seen: list[PreferencePair] = []
    for one in pairs:
        name = names[one.chosen.steps[0].decision.prompt]
        if fold_of(name, settings.folds, settings.seed) != fold:
            held = validate and seed_for(f"validation of {name}", settings.seed) % 5 == 0
            seen.append(dataclasses.replace(one, split="validation" if held else "train"))
    return seen


def fit_once(
    pairs: Sequence[PreferencePair], store: FeatureSource, out: Path, config: CPLConfig, seed: int
) -> OptionPolicy:
    """`fit_cpl`, or its stored result on the same data."""
    pairs_digest = digest(
        f"{one.split} {one.chosen.id} {one.chosen.steps[0].decision.key}\n".encode() for one in pairs
    )
    provenance = {"pairs_digest": pairs_digest}
    if (out / "card.json").exists():
        card = load_card(out)
        known = (card.config, card.seed, card.data.get("pairs_digest"), card.backbone["fingerprint"])
        if known == (asdict(config), seed, pairs_digest, store.fingerprint):
            return load_policy(out, store)
        shutil.rmtree(out)
    policy = fit_cpl(pairs, store=store, out=out, config=config, seed=seed, provenance=provenance)
    shutil.rmtree(out / "checkpoints")  # hundreds of fits, each finished
    return policy


def config_name(config: CPLConfig) -> str:
    """Name of a row of the grid in tables and folders."""
    return f"hidden{config.hidden}-steps{config.steps}-decay{config.weight_decay:g}"


def choose_config(
    pairs: Mapping[str, Sequence[PreferencePair]],
    names: Mapping[str, str],
    store: FeatureSource,
    fold: int,
    settings: Settings,
) -> tuple[CPLConfig, dict[str, float]]:
    """The row of the grid with the highest accuracy over the validation pairs of all rules; the first of
    equals.

    There is one choice for all rules, because a single rule has too few validation pairs.
    """
    scores: dict[str, float] = {}
    for config in GRID:
        right = total = 0.0
        for rule, of_rule in pairs.items():
            seen = assign_splits(of_rule, names, fold, settings, validate=True)
            if not any(p.split == "train" for p in seen):
                continue
            out = settings.out / "grid" / f"fold{fold}" / config_name(config) / rule
            fit_once(seen, store, out, config, settings.seed)
            card = load_card(out)
            count = card.data["validation_pairs"]
            right += count * card.figures.get("validation_accuracy", 0.0)
            total += count
        if not total:
            raise InputError(f"fold {fold} leaves no validation pair to choose hyper-parameters by")
        scores[config_name(config)] = right / total
    best = max(GRID, key=lambda config: scores[config_name(config)])
    return best, scores


class CrossFitted:
    """A policy that consists of one policy per fold; a decision is answered by the one that was not trained
    on it.

    Args:
        name: Name in reports.
        policies: Policies by held-out fold.
        folds: Fold of each prompt.
    """

    def __init__(self, name: str, policies: Mapping[int, Policy], folds: Mapping[str, int]) -> None:
        self.name, self.policies, self._folds = name, policies, folds
        self._answers: dict[str, FloatArray] = {}

    def log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """See `Policy.log_probs`."""
        for fold, policy in self.policies.items():
            asked = [d for d in decisions if self._folds[d.prompt] == fold and d.key not in self._answers]
            for decision, answer in zip(asked, policy.log_probs(asked), strict=True):
                self._answers[decision.key] = answer
        return [self._answers[d.key] for d in decisions]


@dataclass(frozen=True)
class Learned:
    """The agents, and how they were chosen.

    Args:
        agents: Agents by rule, each the mean of its seeds' log-probabilities.
        single: Agents of single seeds, by seed and rule.
        chosen: Name of the configuration, by fold.
        validation: Accuracies of the grid on validation pairs, by fold.
    """

    agents: Mapping[str, Policy]
    single: Sequence[Mapping[str, Policy]]
    chosen: Mapping[int, str]
    validation: Mapping[int, Mapping[str, float]]


def learn_all(
    cases: Sequence[Case],
    pairs: Mapping[str, Sequence[PreferencePair]],
    store: FeatureSource,
    settings: Settings,
) -> Learned:
    """Choose each fold's configuration on its validation part, then train on all data except the fold."""
    names = {case.decision.prompt: case.id for case in cases}
    folds = {prompt: fold_of(name, settings.folds, settings.seed) for prompt, name in names.items()}
    fits: dict[str, dict[int, list[OptionPolicy]]] = {rule: {} for rule in pairs}
    chosen, validation = {}, {}
    for fold in range(settings.folds):
        config, validation[fold] = choose_config(pairs, names, store, fold, settings)
        chosen[fold] = config_name(config)
        for rule, of_rule in pairs.items():
            seen = assign_splits(of_rule, names, fold, settings, validate=False)
            if not seen:
                raise InputError(f"rule '{rule}' has no pair outside of fold {fold}")
            fits[rule][fold] = [
                fit_once(seen, store, settings.out / "fits" / f"fold{fold}-seed{seed}" / rule, config, seed)
                for seed in range(settings.seed, settings.seed + settings.seeds)
            ]
        best = validation[fold][chosen[fold]]
        say(f"  fold {fold + 1} of {settings.folds}: {chosen[fold]}, {best:.1%} of validation pairs")
    agents = {
        rule: CrossFitted(rule, {fold: _mean_policy(rule, p) for fold, p in of_rule.items()}, folds)
        for rule, of_rule in fits.items()
    }
    single = [
        {
            rule: CrossFitted(rule, {f: p[i] for f, p in of_rule.items()}, folds)
            for rule, of_rule in fits.items()
        }
        for i in range(settings.seeds)
    ]
    return Learned(agents, single, chosen, validation)


def _mean_policy(rule: str, policies: Sequence[Policy]) -> Policy:
    members = {f"seed_{i}": policy for i, policy in enumerate(policies)}
    return SteeredPolicy(members, SteeringWeights.uniform(list(members)), GEOMETRIC, name=rule)
