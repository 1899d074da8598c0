import pickle
import subprocess
import sys

import numpy as np
import pytest

from pluralign.core import Decision, InputError, Objective, PreferencePair, Step, Trajectory, UniformPolicy


def test_decision_keys_tell_every_split_of_the_text_apart() -> None:
    keys = {
        Decision(p, o).key for p, o in [("ab", ("c",)), ("a", ("bc",)), ("a", ("b", "c")), ("a", ("c", "b"))]
    }
    assert len(keys) == 4


def test_decision_keys_are_equal_across_processes() -> None:
    code = "from pluralign.core import Decision; print(Decision('Höhe', ('a', 'b')).key)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == Decision("Höhe", ("a", "b")).key


def test_objective_reward_is_the_weighted_sum_of_counts() -> None:
    objective = Objective("kind", "Is kind.", {"violations.killing": -2.0, "points": 0.5})
    assert objective.reward({"violations.killing": 3.0, "points": 4.0, "other": 9.0}) == -4.0
    assert pickle.loads(pickle.dumps(objective)) == objective
    assert hash(pickle.loads(pickle.dumps(objective))) == hash(objective)


@pytest.mark.parametrize(("name", "description"), [("Bad Name", "x"), ("1st", "x"), ("", "x"), ("ok", "  ")])
def test_objectives_need_a_name_and_a_description(name: str, description: str) -> None:
    with pytest.raises(InputError):
        Objective(name, description)


def episode(n: int) -> Trajectory:
    steps = tuple(Step(Decision(str(i), ("a", "b")), i % 2, {"score": float(i)}) for i in range(n))
    return Trajectory("e", "s", "p", 0, steps, terminated=True)


def test_segments_and_returns() -> None:
    whole = episode(5)
    assert whole.returns() == {"score": 10.0}
    part = whole.segment(1, 3)
    assert (part.id, part.returns(), len(part.steps)) == ("e:1:3", {"score": 3.0}, 2)
    assert whole.segment(3, 99).stop == 5
    with pytest.raises(InputError, match="is empty"):
        whole.segment(5)


def test_values_outside_their_range_are_refused() -> None:
    with pytest.raises(InputError, match="field 'action': must be 0 to 0, found 1"):
        Step(Decision("x", ("a",)), 1)
    with pytest.raises(InputError, match="at least one option"):
        Decision("x", ())
    with pytest.raises(InputError, match="no steps"):
        Trajectory("e", "s", "p", 0, (), terminated=True)
    part = episode(1).segment()
    with pytest.raises(InputError, match=r"from 0.5 to 1, found 0.4"):
        PreferencePair(part, part, "score", weight=0.4)


def test_uniform_policy_normalises() -> None:
    (log_probs,) = UniformPolicy().log_probs([Decision("x", ("a", "b", "c"))])
    assert np.exp(log_probs) == pytest.approx([1 / 3] * 3)


def test_import_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import pluralign; "
        "assert time.process_time() - start < 1, 'slow'; "
        "assert not {'torch', 'transformers', 'gymnasium', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_caller_has_at_hand_becomes_what_records_have() -> None:
    listed: object = ["a", "b"]
    decision = Decision("p", listed)  # pyright: ignore[reportArgumentType]
    assert decision == Decision("p", ("a", "b"))
    assert hash(decision) == hash(Decision("p", ("a", "b")))
    assert type(Step(decision, np.int64(1)).action) is int  # pyright: ignore[reportArgumentType]
    objective = Objective("kind", "Is kind.", {"points": np.float32(0.5)})  # pyright: ignore[reportArgumentType]
    assert objective.to_json()["coefficients"] == {"points": 0.5}
