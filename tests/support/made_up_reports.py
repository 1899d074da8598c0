"""A made-up report for tests."""

from collections.abc import Callable

import numpy as np

from pluralign.core import simplex_grid
from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.rank_correlation import Correlation
from pluralign.evaluate.report.model import Kind, Report, WeightPoint
from pluralign.evaluate.statistics import Estimate

OBJECTIVES = ("score", "harm_avoidance")


def around(mean: float, stderr: float = 0.1) -> Estimate:
    return Estimate(mean, stderr, mean - 1.96 * stderr, mean + 1.96 * stderr)


def point(
    weight: float, score: float, violations: float, stderr: float = 0.1, seconds: float = 0.0
) -> WeightPoint:
    weights = simplex_grid(OBJECTIVES, 20)[round(20 * weight)]
    return WeightPoint(
        weights=weights,
        returns={"score": score, "harm_avoidance": -violations},
        stderr={"score": 4 * stderr, "harm_avoidance": stderr},
        metrics={
            "power": around(1.0 + violations / 3),
            "disutility": around(violations / 5),
            "violations": around(violations, stderr),
        },
        seconds=seconds,
    )


def make_report(
    score: Callable[[float], float] = lambda w: 18 + 30 * w**1.4,
    violations: Callable[[float], float] = lambda w: 0.9 + 6.2 * w**1.8,
    stderr: float = 0.12,
    **changed: object,
) -> Report:
    """The sweep follows these functions of the weight on score."""
    kinds: dict[str, Kind] = {
        "random": "random",
        "DRRN": "online",
        "SmolLM2-135M": "language_model",
        "SmolLM2-135M told to be good": "language_model",
        "behaviour cloning": "cloned",
        "CPL score": "learned",
        "CPL harm avoidance": "learned",
    }
    places = {
        "random": (21.0, 4.4),
        "DRRN": (50.5, 8.9),
        "SmolLM2-135M": (23.5, 3.9),
        "SmolLM2-135M told to be good": (22.4, 3.2),
        "behaviour cloning": (26.0, 3.4),
        "CPL score": (score(1.0), violations(1.0)),
        "CPL harm avoidance": (score(0.0), violations(0.0)),
    }
    raw = {
        name: {
            "score": around(s * 1.6, 0.6),
            "power": around(1 + v / 3),
            "disutility": around(v / 5),
            "violations": around(v),
        }
        for name, (s, v) in places.items()
    }
    base = raw["random"]
    normalised = {
        name: {
            m: around(100 * row[m].mean / base[m].mean, 100 * row[m].stderr / base[m].mean) for m in HEADLINES
        }
        for name, row in raw.items()
    }
    grid = np.linspace(0, 1, 11)
    front = [(6, 0), (19, -0.2), (27, -1), (34, -2), (41, -3.2), (47, -4.6), (52, -6), (56, -9), (58, -12)]
    settings: dict[str, object] = {
        "story": "glass_quarter",
        "title": "The Glass Quarter",
        "objectives": OBJECTIVES,
        "policies": raw,
        "normalised": normalised,
        "kinds": kinds,
        "policy_returns": {
            name: {"score": around(s, 0.5), "harm_avoidance": around(-v, 0.12)}
            for name, (s, v) in places.items()
        },
        "sweep": tuple(point(float(w), score(w), violations(w), stderr) for w in grid),
        "exact_front": tuple({"score": float(s), "harm_avoidance": float(h)} for s, h in front),
        "worst": {"score": 0.0, "harm_avoidance": -21.0},
        "best": {"score": 58.0, "harm_avoidance": 0.0},
        "hypervolume_ratio": 0.87,
        "hypervolume_interval": (0.84, 0.89),
        "rater_kappa": 0.71,
        "rater_kappas": {"score": 0.78, "harm_avoidance": 0.64},
        "retrained": tuple(
            point(w, score(w) + 0.8, violations(w) + 0.1, stderr, 74.0) for w in (0.2, 0.5, 0.8)
        ),
        "optimum_share": {"score": 0.83, "harm_avoidance": 0.96},
        "spearman": Correlation(-0.99, -1.0, -0.93, 11),
        "data": {"episodes": 600, "decisions": 7312, "pairs": {"score": 1800, "harm_avoidance": 1650}},
        "settings": {"power": 1.0, "episodes per weighting": 200, "model": "smollm2-135m"},
        "versions": {"pluralign": "0.1.0", "torch": "2.9"},
        "seconds": 1130.0,
        "seed": 0,
        "notes": ("The story’s decisions have no chance in them.",),
    }
    return Report(**{**settings, **changed})
