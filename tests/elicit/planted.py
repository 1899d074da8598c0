"""People with known weights, and questions for them."""

import numpy as np

import pluralign as pl


def question(*values, names="abcdefgh", number=0, **fields):
    options = tuple(f"option {index}" for index in range(len(values)))
    known = tuple(dict(zip(names, map(float, own), strict=False)) for own in values)
    return pl.Question(pl.Decision(f"{number}: {values}", options), known, **fields)


def questions(random, number, objectives, options=2, **fields):
    return [question(*random.normal(size=(options, objectives)), number=n, **fields) for n in range(number)]


def units(objectives, names="abcdefgh"):
    return dict.fromkeys(names[:objectives], 1.0)


def probabilities(one, theta, lapse=0.02):
    utilities = np.array([list(own.values()) for own in one.values]) @ theta
    odds = np.exp(utilities - utilities.max())
    return (1 - lapse) * odds / odds.sum() + lapse / len(odds)


def answer(random, one, theta, lapse=0.02):
    probability = probabilities(one, theta, lapse)
    return pl.Choice(one, int(random.choice(len(probability), p=probability)))


def person(random, objectives, deviation=1.0):
    """Weights uniform on the simplex, and decisiveness x weights."""
    weights = random.dirichlet(np.ones(objectives))
    return weights, weights * 4.0 * np.exp(deviation * random.normal())
