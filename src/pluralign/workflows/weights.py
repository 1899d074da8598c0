"""Reports of weights: what explains the answers of one person or of many, what contradicts them, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import Policy, SteeringWeights, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.choice import Choice
from pluralign.core.files import write_json
from pluralign.elicit.choice_data import answer_numbers, count_answers
from pluralign.elicit.feasibility import Feasibility, explained_by_weights
from pluralign.elicit.grounding import choices_of_trajectories
from pluralign.elicit.many import ManyWeights, PriorName
from pluralign.elicit.posterior import FEW_EFFECTIVE, LAPSE, WeightPosterior, infer_weights
from pluralign.elicit.prior import SimplexPrior
from pluralign.elicit.saved import save_posterior
from pluralign.elicit.signs import objectives_against
from pluralign.elicit.utilities import LEAST_CHOICES, Comparison, compare_utilities
from pluralign.evaluate.pictures.weights import draw_people, draw_weights
from pluralign.options.open import Models, load_agents

# With fewer answers, answers that contradict any weights may be chance.
_ENOUGH = 10
_BY_CHANCE = "no weights explain these answers better than chance"


@dataclass(frozen=True, eq=False)
class WeightReport:
    """Weights of one person, and whether weights explain the choices.

    Args:
        posterior: Posterior of the weights.
        choices: Choices that it was inferred from.
        clash: Whether any weights explain all answers; None if that was not asked.
        utilities: Comparison with other utilities; None for fewer than ten answers.
        dial: Weights for the mixture that acts by the inferred weights, and how far its implied weights are
            from them; None if that was not calibrated.
    """

    posterior: WeightPosterior
    choices: Sequence[Choice]
    clash: Feasibility | None
    utilities: Comparison | None
    dial: tuple[SteeringWeights, float] | None = None

    @property
    def by_chance(self) -> bool:
        """Whether ten answers or more are explained no better than by chance."""
        explained = self.posterior.explains
        return (
            explained is not None
            and self.posterior.answers >= _ENOUGH
            and explained.log_loss >= explained.even_log_loss
        )

    def lines(self) -> list[str]:
        """What a person should know about these weights."""
        found: list[str] = []
        explained, posterior = self.posterior.explains, self.posterior
        if explained is not None:
            found.append(
                f"{posterior.answers} answers; each predicted from the others: {100 * explained.share:.0f} % "
                f"right, log loss {explained.log_loss:.3f} (chance {explained.even_log_loss:.3f})"
            )
            found += [f"these questions cannot tell {a} and {b} apart" for a, b in explained.undetermined]
        if self.choices:
            found += against_lines(objectives_against(self.choices, posterior.scales))
        if posterior.effective_samples < FEW_EFFECTIVE:
            found.append(f"rough: the draws are worth {posterior.effective_samples:.0f} independent ones")
        if self.clash is not None and not self.clash.feasible:
            found += _contradictions(self.clash, self.choices)
        if self.utilities is not None:
            # The best of all may lead by chance.
            found += [
                f"explained better by {fit.name}: {fit.lead:+.3f} nats an answer (standard error "
                f"{fit.lead_error:.3f})"
                for fit in self.utilities.fits
                if fit.name == self.utilities.better
            ]
        if self.dial is not None:
            weights, apart = self.dial
            found.append(f"the mixture that acts by these weights: {weights.to_text()} (off by {apart:.3f})")
        if self.by_chance:
            found.append(_BY_CHANCE)
        return found

    def save(self, out: Path) -> dict[str, Any]:
        """Write weights.json and weights.svg; return the summary.

        Args:
            out: Folder for the files.
        """
        posterior, clash, other = self.posterior, self.clash, self.utilities
        intervals = {name: posterior.interval(name) for name in posterior.objectives}
        means = posterior.mean.aligned_to(posterior.objectives)
        summary = save_posterior(
            posterior,
            out / "weights.json",
            {
                "contradicting": None if clash is None else list(clash.contradicting),
                "removed": None if clash is None else list(clash.removed),
                "utilities": None if other is None else [asdict(fit) for fit in other.fits],
                "better_utility": None if other is None else other.better,
                "dial": None if self.dial is None else dict(self.dial[0]),
            },
        )
        draw_weights(posterior.objectives, means, intervals, out / "weights.svg")
        return summary


def report_weights(
    posterior: WeightPosterior, choices: Sequence[Choice], *, contradictions: bool = True
) -> WeightReport:
    """Look for what contradicts weights.

    Args:
        posterior: Posterior of one person's weights.
        choices: Choices that it was inferred from.
        contradictions: Whether to look for contradicting answers and for other utilities; both take values of
            few choices, not an agent's thousands of steps.
    """
    ranked = count_answers([choice for choice in choices if choice.ranking])
    clash = explained_by_weights(choices, scales=posterior.scales) if contradictions and choices else None
    other = (
        compare_utilities(choices, lapse=posterior.lapse)
        if contradictions and ranked >= LEAST_CHOICES
        else None
    )
    return WeightReport(posterior, choices, clash, other)


def weights_of_episodes(
    episodes: Iterable[Trajectory], policies: Mapping[str, str | Path | Policy], *, lapse: float = LAPSE,
    seed: int = 0,
) -> WeightReport:  # fmt: skip
    """Weights of the mixture of policies that best explains what episodes did.

    >>> import pluralign as pl
    >>> agents = {"score": "random", "harm_avoidance": "random"}
    >>> game = pl.open_story("salt_ledger")
    >>> played = pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=2, seed=0, objectives=[])
    >>> weights_of_episodes(played, agents).posterior.objectives
    ('score', 'harm_avoidance')

    Args:
        episodes: Episodes of one story.
        policies: Policy of each objective; see `load_agents`.
        lapse: Probability of an action at random.
        seed: Random seed of the draws.

    Raises:
        InputError: A policy cannot be opened; or see `choices_of_trajectories`.
    """
    opened = load_agents(policies, Models())
    found = choices_of_trajectories(list(episodes), opened)
    # Log-probabilities have a unit: a mixture of the policies acts with decisiveness 1.
    units = dict.fromkeys(opened, 1.0)
    posterior = infer_weights(
        found, prior=SimplexPrior(decisiveness=1.0), scales=units, lapse=lapse, seed=seed
    )
    return report_weights(posterior, found, contradictions=False)


@dataclass(frozen=True, eq=False)
class ManyReport:
    """Weights of many people.

    Args:
        weights: Weights of each person.
        choices: Choices that they were inferred from.
        prior: Prior of each person's weights.
    """

    weights: ManyWeights
    choices: Sequence[Choice]
    prior: PriorName = "flat"

    @property
    def quarters(self) -> dict[str, list[float]]:
        """Quartiles of the people's mean weights, by objective."""
        found: list[list[float]] = np.quantile(self._means, [0.25, 0.5, 0.75], axis=0).T.tolist()
        return dict(zip(self.weights.objectives, found, strict=True))

    @property
    def by_chance(self) -> bool:
        """Whether ten answers or more of all people together are explained no better than by chance."""
        figures = self.weights.to_json()
        return figures["answers"] >= _ENOUGH and figures["log_loss"] >= figures["even_log_loss"]

    def to_json(self) -> dict[str, Any]:
        """The summary of weights.json."""
        return {**self.weights.to_json(), "prior": self.prior}

    def lines(self) -> list[str]:
        """How well weights explain the choices, and objectives that they go against."""
        figures = self.to_json()
        explained = (
            f"{figures['answers']} answers of {figures['people']} people; each predicted from the others: "
            f"{100 * figures['share']:.1f} % right, log loss {figures['log_loss']:.3f} "
            f"(chance {figures['even_log_loss']:.3f})"
        )
        found = [explained, *against_lines(objectives_against(self.choices, figures["scales"]))]
        return [*found, _BY_CHANCE] if self.by_chance else found

    def save(self, out: Path) -> dict[str, Any]:
        """Write weights.json, weights.csv with a row per person, and weights.svg; return the summary.

        Args:
            out: Folder for the files.
        """
        summary = self.to_json()
        write_json(out / "weights.json", summary)
        self.weights.save_table(out / "weights.csv")
        draw_people(self.weights.objectives, self._means, out / "weights.svg")
        return summary

    @property
    def _means(self) -> FloatArray:
        return np.array(
            [one.mean.aligned_to(self.weights.objectives) for one in self.weights.people.values()]
        )


def against_lines(objectives: Sequence[str]) -> list[str]:
    """What to say about objectives that choices go against."""
    return [
        f"these choices go against {name}: is less of it better? (a column takes a minus: {name}=-COLUMN)"
        for name in objectives
    ]


def _contradictions(clash: Feasibility, choices: Sequence[Choice]) -> list[str]:
    proven = "" if clash.exact else " (perhaps fewer do)"
    contradicting, count = len(clash.contradicting), count_answers(choices)
    # A single one took an option that is the best one under no weights.
    what = f"{contradicting} contradict each other" if contradicting > 1 else "1 contradicts all weights"
    found = [f"no weights explain all answers; {what}{proven}:"]
    numbers: list[int] = answer_numbers(choices).tolist()
    for number in clash.contradicting:
        parts = [choice for choice, own in zip(choices, numbers, strict=True) if own == number]
        taken = "; ".join(_taken(choice) for choice in parts if choice.ranking)
        found.append(f"  answer {number + 1}: {_short(parts[0].question.decision.prompt)}  {taken}")
    if len(clash.removed) < count:
        found.append(f"without {len(clash.removed)} of the {count} answers, weights explain the others")
    return found


def _taken(choice: Choice) -> str:
    """The options taken, best first; of a ranking's pair also the other one."""
    options = choice.question.decision.options
    left = set(range(len(options))) - set(choice.ranking) if choice.part_of else ()
    return " > ".join(_short(options[place]) for place in (*choice.ranking, *left))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
