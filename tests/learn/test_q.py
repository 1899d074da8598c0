"""Values that are learned offline, on a chain whose optimum is known."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from pluralign.core import InputError, Objective, SteeringWeights, Step, Trajectory
from pluralign.folders.card import load_card
from pluralign.learn.options.q import QConfig, fit_q
from pluralign.learn.options.q_learning import ValueLearning
from pluralign.learn.options.q_table import encode_values, scaled_rewards
from pluralign.learn.options.tables import DecisionIndex
from pluralign.options.open import Models, load_agents
from pluralign.options.values import HeadShape, ValueHead, ValuePolicy, ValueUnits
from pluralign.steer.steered import steered
from pluralign.steer.steered_policy import SteeredPolicy
from pluralign.steer.value_steered import ValueSteeredPolicy

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

TREASURE = Objective("treasure", "Treasure is found.")
REST = Objective("rest", "There is little effort.")
BOTH = [TREASURE, REST]
FAST = QConfig(steps=400, hidden=32, batch_size=64, learning_rate=1e-2, follow=0.3, heads=2)


def _episodes(chain, count, seed=0):
    """Random play; effort is the number of the room that one goes to."""
    rng = np.random.default_rng(seed)
    played = [chain.roll(rng, str(i)) for i in range(count)]
    return [
        Trajectory(
            t.id, t.source, t.policy, t.seed,
            tuple(Step(s.decision, s.action, {**s.rewards, "rest": -float(s.action)}) for s in t.steps),
            terminated=True,
        )
        for t in played
    ]  # fmt: skip


def _returns(chain, policy):
    """Exact treasure and rest of a policy's greedy choices."""
    room, treasure, rest = 0, 0.0, 0.0
    for t in range(toy.STEPS):
        action = int(policy.log_probs([chain.decisions[t][room]])[0].argmax())
        treasure, rest, room = treasure + chain.rewards[t, room, action], rest - action, action
    return treasure, rest


@pytest.fixture(scope="module")
def chain():
    return toy.Chain(0)


@pytest.fixture(scope="module")
def agents(chain, tmp_path_factory):
    """An agent of each objective, and one of any weights, with their folders."""
    played, found = _episodes(chain, 150), {}
    for name in ("treasure", "rest", ""):
        folder = tmp_path_factory.mktemp("q") / (name or "any")
        config = QConfig(**{**vars(FAST), "steps": {"treasure": 400, "rest": 150, "": 450}[name]})
        found[name] = (
            fit_q(
                played, store=toy.OneHot(chain), out=folder, objectives=BOTH, objective=name, config=config
            ),
            folder,
        )
    return found


def test_random_play_teaches_the_optimum_of_each_objective(chain, agents):
    best = chain.value(None)
    treasure, _ = _returns(chain, agents["treasure"][0])
    assert treasure > 0.97 * best
    assert _returns(chain, agents["rest"][0])[1] == 0


def test_an_agent_knows_the_values_of_all_objectives(chain, agents):
    agent = agents["treasure"][0]
    first = [chain.decisions[0][0]]
    best = int(agent.log_probs(first)[0].argmax())
    expected = _returns(chain, agent)
    np.testing.assert_allclose(agent.values(first)[0][best], expected, atol=0.35)


def test_one_model_of_any_weights(chain, agents):
    model = agents[""][0]
    treasure, _ = _returns(chain, model.with_weights(SteeringWeights(treasure=1.0)))
    assert treasure > 0.95 * chain.value(None)
    assert _returns(chain, model.with_weights(SteeringWeights(rest=1.0)))[1] == 0
    with pytest.raises(InputError, match="was trained for fixed weights"):
        agents["rest"][0].with_weights(SteeringWeights(rest=1.0))


def test_improvement_over_agents_is_one_of_them_at_the_ends(chain, agents):
    policies = {name: agents[name][0] for name in ("treasure", "rest")}
    decisions = [d for row in chain.decisions for d in row]
    for name, agent in policies.items():
        mixed = steered(policies, SteeringWeights({name: 1.0}))
        assert isinstance(mixed, ValueSteeredPolicy)
        np.testing.assert_allclose(mixed.log_probs(decisions), agent.log_probs(decisions), atol=1e-9)
    # By hand: the larger of the two agents' weighted sums.
    weights = SteeringWeights(treasure=0.5, rest=0.5)
    mixed = steered(policies, weights)
    scale = np.array([policies["treasure"].scale(o.name) for o in BOTH])
    by = [agent.values(decisions[:1], weights)[0] @ (0.5 / scale) for agent in policies.values()]
    np.testing.assert_allclose(mixed.totals(decisions[:1])[0], np.maximum(*by))
    blend = mixed.blend(decisions[0], with_unweighted=True)
    assert set(blend.probabilities) == {"treasure", "rest"}
    assert blend.mixed.sum() == pytest.approx(1)


def test_more_weight_on_treasure_finds_more_of_it(chain, agents):
    models = {"any": agents[""][1]}
    both = {name: agents[name][1] for name in ("treasure", "rest")}
    store = _Store(chain)
    for folders in (both, dict.fromkeys(("treasure", "rest"), models["any"])):
        policies = load_agents(folders, store)
        found = [
            _returns(chain, steered(policies, SteeringWeights(treasure=w, rest=1 - w)))
            for w in (0.0, 0.5, 1.0)
        ]
        treasures = [treasure for treasure, _ in found]
        assert treasures[0] <= treasures[1] + 1e-9 <= treasures[2] + 2e-9
        assert treasures[0] < treasures[2]


def test_one_folder_for_several_objectives_is_opened_once(chain, agents):
    opened = load_agents(dict.fromkeys(("treasure", "rest"), agents[""][1]), _Store(chain))
    assert opened["treasure"].head is opened["rest"].head
    assert dict(opened["rest"].weights) == {"rest": 1.0}


def test_another_power_mixes_probabilities(chain, agents):
    policies = {name: agents[name][0] for name in ("treasure", "rest")}
    assert isinstance(steered(policies, SteeringWeights(treasure=0.5, rest=0.5), 1.0), SteeredPolicy)


def test_agents_of_other_objectives_are_refused_by_name(chain, agents):
    values = ValuePolicy(
        "alone", ValueHead(HeadShape(toy.OneHot(chain).dimension, 1)), toy.OneHot(chain),
        ValueUnits(("rest",), (1.0,)), SteeringWeights(rest=1.0),
    )  # fmt: skip
    with pytest.raises(InputError, match="agent of 'rest' has no values of treasure"):
        ValueSteeredPolicy({"treasure": agents["treasure"][0], "rest": values}, SteeringWeights(rest=1.0))


def test_the_folder_reads_back(chain, agents):
    policy, folder = agents["treasure"]
    again = ValuePolicy.load(folder, toy.OneHot(chain))
    decisions = [d for row in chain.decisions for d in row]
    for own, other in zip(policy.values(decisions), again.values(decisions), strict=True):
        np.testing.assert_array_equal(own, other)
    card = load_card(folder)
    assert (card.method, card.objective) == ("q", "treasure")
    assert card.data["options_tried"] <= card.data["options"]
    assert card.figures["belief"]["treasure"] == pytest.approx(_returns(chain, policy)[0], abs=0.4)
    (folder / "head.safetensors").write_bytes(b"")
    with pytest.raises(InputError):
        ValuePolicy.load(folder, toy.OneHot(chain))


def test_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, chain, monkeypatch):
    config = QConfig(steps=30, hidden=4, batch_size=16)
    played = _episodes(chain, 20)

    def fit(folder):
        torch.manual_seed(len(folder))
        fit_q(played, store=toy.OneHot(chain), out=tmp_path / folder, objectives=BOTH, config=config, seed=1)
        return (tmp_path / folder / "head.safetensors").read_bytes()

    whole, forwards, original = fit("whole"), 0, ValueLearning.forward

    def cut_off_at_25(self, rows):
        nonlocal forwards
        forwards += 1
        if forwards == 25:
            raise KeyboardInterrupt
        return original(self, rows)

    monkeypatch.setattr(ValueLearning, "forward", cut_off_at_25)
    with pytest.raises(KeyboardInterrupt):
        fit("cut")
    assert fit("cut") == whole
    assert 25 < forwards < 25 + 30, "training went on where it stopped"


def test_what_was_taken_last_in_a_cut_off_episode_makes_another_run(tmp_path, chain):
    # It has no target, but a share among the options that the data took.
    played, short = _episodes(chain, 8), dataclasses.replace(FAST, steps=2, backup="expectile")
    first = played[0].steps[0]

    def fit(action):
        step = dataclasses.replace(first, action=action)
        cut = Trajectory("cut", "c", "r", 0, (step,), terminated=False, truncated=True)
        fit_q([*played, cut], store=toy.OneHot(chain), out=tmp_path, objectives=BOTH, config=short)

    fit(0)
    with pytest.raises(InputError, match="data was"):
        fit(1)


@pytest.mark.parametrize("backup", ["expectile", "taken", "reference"])
@pytest.mark.parametrize("unseen", ["free", "never"])
def test_every_backup_trains(tmp_path, chain, backup, unseen):
    config = QConfig(backup=backup, unseen=unseen, steps=3, hidden=4, n=2, conservative=0.1)
    reference = _Zeros() if backup == "reference" else None
    policy = fit_q(
        _episodes(chain, 5), store=toy.OneHot(chain), out=tmp_path / "q", objectives=BOTH, objective="rest",
        config=config, reference=reference,
    )  # fmt: skip
    assert np.isfinite(policy.values([chain.decisions[0][0]])[0]).all()


def test_what_cannot_be_learned_is_one_line(tmp_path, chain):
    played = _episodes(chain, 3)
    known = {"store": toy.OneHot(chain), "out": tmp_path / "q", "objectives": BOTH}
    with pytest.raises(InputError, match="given together or not at all"):
        fit_q(played, **known, config=QConfig(backup="reference"))
    with pytest.raises(InputError, match="must be one of treasure, rest, found 'gold'"):
        fit_q(played, **known, objective="gold")
    with pytest.raises(InputError, match="have no rewards for it"):
        fit_q(played, **{**known, "objectives": [Objective("gold", "Gold.")]})
    with pytest.raises(InputError, match="there is no trajectory"):
        fit_q([], **known)
    with pytest.raises(InputError, match="must be one of max, expectile"):
        QConfig(backup="mean")
    with pytest.raises(InputError, match="'tau': is for the backup expectile, not max"):
        QConfig(tau=0.7)
    assert QConfig(backup="expectile", tau=0.7).tau == 0.7
    cut = [Trajectory("a", "c", "r", 0, played[0].steps[:1], terminated=False, truncated=True)]
    with pytest.raises(InputError, match="cut off at their first step"):
        fit_q(cut, **known)
    assert not (tmp_path / "q" / "card.json").exists()


def test_last_steps_whose_reward_is_not_known_have_no_target():
    chain = toy.Chain(0)
    played = _episodes(chain, 5)
    imported = [dataclasses.replace(one, info={"last_step": "points"}) for one in played]
    rewards, _ = scaled_rewards(played, BOTH)
    whole, fewer = (
        encode_values(some, DecisionIndex(), rewards, 1, 1.0, BOTH) for some in (played, imported)
    )
    assert len(fewer) == len(whole) - len(played) > 0
    # The steps before them continue from the value of the last decision.
    assert bool((fewer.factors == 1).all())
    assert int((whole.factors == 0).sum()) == len(played)


class _Zeros:
    name = "zeros"

    def log_probs(self, decisions):
        return [np.log(np.full(len(d.options), 1 / len(d.options))) for d in decisions]


class _Store(Models):
    """Models whose features are those of the chain."""

    def __init__(self, chain):
        super().__init__()
        self._chain = chain

    @property
    def store(self):
        return toy.OneHot(self._chain)

    def of_folder(self, folder, content):
        return self
