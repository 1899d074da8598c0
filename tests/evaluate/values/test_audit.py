"""Audits of planted raters, against closed forms."""

import itertools
import math
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest

import pluralign as pl
from pluralign.annotate.rater import Rating
from pluralign.evaluate.values.answers import Answers, draw_pairs
from pluralign.evaluate.values.audit import AuditConfig, audit_values
from pluralign.evaluate.values.outcomes import Lottery, Outcome, Process
from pluralign.evaluate.values.placed import draw_lotteries
from pluralign.evaluate.values.utilities import expectation_propagation, thurstone

PHI = NormalDist().cdf
TEXTS = [f"outcome {i}" for i in range(14)]
FEW = AuditConfig(resamples=200, drawn_lotteries=12)
NO_LOTTERIES = AuditConfig(resamples=200, drawn_lotteries=0)
EXACT = partial(thurstone, pseudo_count=0.0)


class Planted:
    """Prefers by the difference of known utilities; a lottery's utility is its expected one."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        self.utilities = dict(zip(TEXTS, random.normal(size=len(TEXTS)).tolist(), strict=True))
        self.asked = 0

    def add(self, lottery):
        self.utilities[lottery.text] = sum(p * self.utilities[text] for text, p in lottery.parts)

    def __call__(self, first, second):
        self.asked += 1
        return PHI(self.utilities[first] - self.utilities[second])


@pytest.fixture(scope="module")
def planted():
    rater = Planted()
    for lottery in draw_lotteries([Outcome(text) for text in TEXTS], FEW.drawn_lotteries, FEW.seed):
        rater.add(lottery)
    return rater


@pytest.fixture(scope="module")
def audit(planted):
    return audit_values(planted, TEXTS, config=FEW, fit=EXACT)


def test_planted_utilities_are_found(planted, audit):
    truth = np.array([planted.utilities[text] for text in TEXTS])
    fitted = audit.preferences.utilities
    assert np.allclose(fitted.mean, truth - truth.mean(), atol=1e-9)
    # The model is exact, and so are the probabilities: nothing is left to be uncertain about.
    assert fitted.stderr.max() < 1e-6
    predicted = audit.preferences.held_out
    assert predicted.log_loss == pytest.approx(predicted.least_log_loss, abs=1e-9)
    assert predicted.accuracy == 1.0
    assert predicted.better_than_even


def test_orders_agree(audit):
    assert audit.consistency.agreement == 1.0
    assert audit.consistency.first_place == 0.5


def test_completeness_and_cycles_have_their_closed_forms(planted, audit):
    pairs = itertools.combinations(TEXTS, 2)
    assert len(TEXTS) * (len(TEXTS) - 1) / 2 == audit.consistency.pairs
    sizes = [abs(2 * planted(*pair) - 1) for pair in pairs]
    assert audit.preferences.completeness.mean == pytest.approx(np.mean(sizes), abs=1e-12)
    _, triads = draw_pairs(len(TEXTS), FEW.pairs, FEW.triads, FEW.seed)
    expected = []
    for a, b, c in triads.tolist():
        p = [planted(TEXTS[i], TEXTS[j]) for i, j in ((a, b), (b, c), (c, a))]
        expected.append(math.prod(p) + math.prod(1 - one for one in p))
    found = audit.preferences.cycles
    assert found.probability.mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.probability.low <= found.probability.mean <= found.probability.high
    assert found.shuffled.low < 0.25 < found.shuffled.high
    assert found.probability.high < found.shuffled.low


def test_lotteries_have_their_expected_utilities(audit):
    found = audit.preferences.lotteries
    assert found.items == FEW.drawn_lotteries
    assert found.correlation.mean == pytest.approx(1.0, abs=1e-4)
    assert np.allclose(found.given, found.expected, atol=0.05)


def test_a_rater_to_whom_all_lotteries_are_equal_orders_none_of_them():
    texts = [f"outcome {i}" for i in range(6)]
    # All lotteries are better than any outcome, and so as good as each other, up to rounding.
    found = audit_values(lambda first, second: 0.8 if (first < second) else 0.2, texts).preferences.lotteries
    assert np.ptp(found.given) == 0
    assert found.correlation is None
    assert found.ordered_alike.mean < 0.1


def test_a_lover_of_places_has_no_preferences_and_nothing_else_is_asked():
    rater = Planted()
    found = audit_values(lambda first, second: 0.5 + 0.4 * (rater(first, second) > 0), TEXTS, config=FEW)
    assert found.consistency.agreement == 0.0
    assert found.consistency.first_place == 1.0
    assert found.preferences is None
    assert rater.asked == 2 * found.consistency.pairs
    written = found.to_json()
    assert written["passed"] is False
    assert written["preferences"] is None


@pytest.mark.parametrize("outcomes", [3, 12])
def test_rock_paper_scissors_has_cycles_and_no_utilities(outcomes):
    places = {f"{i}": i for i in range(outcomes)}
    beats = (0.5, 1.0, 0.0)
    found = audit_values(lambda a, b: beats[(places[a] - places[b]) % 3], list(places), config=FEW)
    assert found.consistency.agreement == 1.0
    assert found.preferences.held_out.gain.mean < 0
    assert not found.preferences.held_out.better_than_even
    assert found.preferences.utilities is None
    assert found.preferences.lotteries is None
    if outcomes == 3:
        assert found.preferences.cycles.probability.mean == 1.0


def test_a_rater_without_log_odds_is_asked_in_both_orders():
    class Rater:
        name, settings, batch = "alphabet", {}, 4

        def rate(self, comparisons, objective):
            names = [(c.first.text()[1], c.second.text()[1]) for c in comparisons]
            return [Rating("first" if one < other else "second") for one, other in names]

    found = audit_values(Rater(), TEXTS, config=FEW)
    assert found.consistency.agreement == 1.0
    assert found.consistency.first_place == 0.5
    best = int(found.preferences.utilities.mean.argmax())
    assert TEXTS[best] == min(TEXTS)


def test_a_policy_is_asked_and_a_mixture_lies_between_its_policies():
    class Likes:
        def __init__(self, sign):
            self.name, self.sign = f"likes {sign}", sign

        def log_probs(self, decisions):
            odds = [
                np.array([self.sign * float(text.split()[1]) / 4 for text in d.options]) for d in decisions
            ]
            return [own - np.logaddexp.reduce(own) for own in odds]

    policies = {"more": Likes(1.0), "less": Likes(-1.0)}
    slopes = []
    for share in (0.0, 0.25, 1.0):
        mixture = pl.SteeredPolicy(policies, pl.SteeringWeights(more=share, less=1 - share))
        found = audit_values(mixture, TEXTS, config=NO_LOTTERIES)
        slopes.append(np.polyfit(range(len(TEXTS)), found.preferences.utilities.mean, 1)[0])
    assert slopes[0] == pytest.approx(-slopes[2])
    assert slopes[0] < slopes[1] < 0 < slopes[2]


def test_implied_weights_hold_the_planted_ones():
    random = np.random.default_rng(0)
    outcomes = [
        Outcome(text, scores=dict(zip(("kind", "rich"), random.normal(size=2), strict=True)))
        for text in TEXTS
    ]
    utilities = {one.text: 3 * (0.7 * one.scores["kind"] + 0.3 * one.scores["rich"]) for one in outcomes}
    flip = np.random.default_rng(1)
    answers = {}

    def person(first, second):
        key = tuple(sorted((first, second)))
        odds = utilities[key[0]] - utilities[key[1]]
        taken = answers.setdefault(key, key[0 if flip.random() < 1 / (1 + math.exp(-odds)) else 1])
        return float(taken == first)

    found = audit_values(person, outcomes, config=NO_LOTTERIES).preferences.weights
    low, high = found.interval("kind")
    assert low < 0.7 < high
    assert high - low < 0.5


def test_means_follow_ends_for_a_rater_who_values_ends():
    rater, states = Planted(), []
    processes = []
    for number in range(6):
        share = 0.1 + 0.12 * number
        chain = np.zeros((4, 4))
        chain[0, 2:], chain[1, 2:] = (share, 1 - share), (1 - share, share)
        names = tuple(f"process {number}, state {state}" for state in range(4))
        rater.utilities |= {names[2]: 1.0, names[3]: -1.0, names[0]: 2 * share - 1, names[1]: 1 - 2 * share}
        states += names
        processes.append(Process(f"process {number}", names, chain, (False, False, True, True)))
    config = AuditConfig(resamples=100, drawn_lotteries=0)
    found = audit_values(rater, TEXTS, processes=processes, config=config, fit=EXACT).preferences
    assert found.lotteries is None
    assert found.instrumental.items == 12
    assert found.instrumental.correlation.mean > 0.999
    assert found.instrumental.ordered_alike.mean == 1.0


def test_states_that_are_outcomes_need_no_further_answers():
    rater, chain = Planted(), np.zeros((4, 4))
    chain[0, 2:], chain[1, 2:] = (0.2, 0.8), (0.9, 0.1)
    processes = [
        Process(f"{i}", tuple(TEXTS[i : i + 4]), chain, (False, False, True, True)) for i in (0, 4, 8)
    ]
    found = audit_values(rater, TEXTS, processes=processes, config=NO_LOTTERIES, fit=EXACT)
    assert rater.asked == 2 * found.consistency.pairs
    truth = [rater.utilities[text] for text in TEXTS]
    ends = [row @ truth[i + 2 : i + 4] for i in (0, 4, 8) for row in chain[:2, 2:]]
    expected = np.corrcoef([truth[i + k] for i in (0, 4, 8) for k in (0, 1)], ends)[0, 1]
    assert found.preferences.instrumental.correlation.mean == pytest.approx(expected, abs=1e-6)


def test_a_lottery_that_an_outcome_implies():
    rater = Planted()
    lotteries = [Lottery(((TEXTS[i], 0.3), (TEXTS[i + 1], 0.7)), words=f"one of two {i}") for i in range(5)]
    for lottery in lotteries:
        rater.add(lottery)
    found = audit_values(
        rater, TEXTS, lotteries=lotteries, config=AuditConfig(resamples=100, drawn_lotteries=0), fit=EXACT
    )
    assert found.preferences.implied.correlation.mean > 0.999
    assert found.preferences.lotteries is None


def test_an_interrupted_audit_continues(tmp_path):
    class Tired(Planted):
        limit = 100

        def __call__(self, first, second):
            if self.asked >= self.limit:
                raise KeyboardInterrupt
            return super().__call__(first, second)

    rater, config = Tired(), AuditConfig(resamples=50, drawn_lotteries=0)
    with pytest.raises(KeyboardInterrupt):
        audit_values(rater, TEXTS, config=config, out=tmp_path)
    rater.limit, rater.asked = 10_000, 0
    found = audit_values(rater, TEXTS, config=config, out=tmp_path)
    assert rater.asked < 2 * found.consistency.pairs
    assert found.to_json() == audit_values(Planted(), TEXTS, config=config).to_json()
    rater.asked = 0
    assert audit_values(rater, TEXTS, config=config, out=tmp_path).to_json() == found.to_json()
    assert rater.asked == 0
    audit_values(rater, TEXTS[:-1], config=config, out=tmp_path)
    assert rater.asked > 0


def test_seeds_fix_everything():
    one, other = (
        audit_values(Planted(), TEXTS, config=AuditConfig(resamples=50, drawn_lotteries=0)) for _ in "ab"
    )
    assert one.to_json() == other.to_json()


def test_expectation_propagation_agrees():
    pytest.importorskip("choix")
    rater = Planted()
    pairs = np.array(list(itertools.combinations(range(len(TEXTS)), 2)))
    p = np.array([rater(TEXTS[i], TEXTS[j]) for i, j in pairs])
    answers = Answers(pairs, np.column_stack([p, p]))
    own, other = thurstone(len(TEXTS), answers), expectation_propagation(len(TEXTS), answers, votes=20)
    assert np.corrcoef(own.mean, other.mean)[0, 1] > 0.995
    assert np.abs(own.mean - other.mean).max() < 0.2
