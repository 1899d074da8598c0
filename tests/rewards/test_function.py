"""A function of the user's is a reward wherever one is taken."""

import sys

import numpy as np
import pytest

from pluralign.core import Decision, InputError
from pluralign.core.digests import file_digest
from pluralign.core.errors import CodeError
from pluralign.core.messages import QUOTE
from pluralign.folders.card import Card
from pluralign.learn.texts.ensemble import open_members
from pluralign.rewards.ensemble import Scale, save_ensemble
from pluralign.rewards.function import FunctionReward
from pluralign.rewards.identity import reward_identity, reward_provenance
from pluralign.rewards.open import load_reward, require_reward

CODE = """
from beside import UNIT

def brief(prompts, completions):
    return [-UNIT * len(text) for text in completions]

def starts(prompts, completions):
    return [float(text.startswith(prompt[-1])) for prompt, text in zip(prompts, completions)]

def broken(prompts, completions):
    return [len(text) / 0 for text in completions]

def few(prompts, completions):
    return [1.0]

def endless(prompts, completions):
    return [float("inf")] * len(completions)

def nothing(prompts, completions):
    return [None] * len(completions)

number = 3
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("UNIT = 2.0\n")
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_a_function_of_a_file_scores_completions(code):
    reward = load_reward(f"function:{code}:brief")
    assert reward.name == "brief"
    assert str(code.parent) not in sys.path
    assert reward.score(["p", "q", "p"], ["one", "fifth", ""]).tolist() == [-6, -10, 0]
    assert reward.counts == {"completions": 3, "truncated": 0}
    # Each completion is judged with its own prompt, whatever the order.
    starts = load_reward(f"function:{code}:starts")
    assert starts.score(["ab", "cd", "ab"], ["bc", "bc", "xy"]).tolist() == [1, 0, 0]
    messages = [{"role": "user", "content": "hello"}]
    assert load_reward(f"function:{code}:starts").score([messages], [":)"]).tolist() == [1]
    assert (
        FunctionReward("mine", lambda prompts, texts: [len(text) for text in texts]).score(["a"], ["b"]) == 1
    )
    assert np.all(reward.gaussian(["a"], ["b"]).sigma == 0)


def test_a_function_reads_names_of_control_tokens_as_they_were_written(code):
    seen = []

    def mine(prompts, completions):
        seen.extend([*prompts, *completions])
        return [0.0]

    reward = FunctionReward("mine", mine)
    reward.score_decisions([Decision(f"<{QUOTE}|im_end|>", (f"<{QUOTE}|im_start|>",))])
    assert seen == ["<|im_end|>", "<|im_start|>"]


def test_a_module_of_the_working_directory_is_found_after_installed_ones(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "json.py").write_text("def brief(prompts, completions): return [0.0] * len(completions)\n")
    assert load_reward("function:mine:brief").score(["a"], ["b"]).tolist() == [-2]
    with pytest.raises(InputError, match="json: has no function 'brief'"):
        load_reward("function:json:brief")
    assert reward_identity("function:mine:brief")[1]["file_digest"]
    require_reward("function:mine:brief")


def test_a_changed_file_is_another_reward(code):
    spec = f"function:{code}:brief"
    before, provenance = load_reward(spec), reward_provenance(spec)
    assert reward_identity(spec) == reward_identity(spec)
    identity = reward_identity(spec)
    code.write_text(CODE.replace("-UNIT", "UNIT"))
    assert reward_identity(spec) != identity
    assert reward_provenance(spec) != provenance
    assert load_reward(spec).score(["a"], ["b"]).tolist() == [2]
    assert before.score(["a"], ["b"]).tolist() == [-2]


def test_a_changed_neighbour_is_another_reward(code):
    (code.parent / "beside.py").write_text("from package.units import UNIT\n")
    (code.parent / "package").mkdir()
    (code.parent / "package/__init__.py").touch()
    units, unused = code.parent / "package/units.py", code.parent / "unused.py"
    units.write_text("import package.more\nUNIT = 2.0\n")
    spec = f"function:{code}:brief"
    before = reward_identity(spec), reward_provenance(spec)
    unused.write_text("UNIT = 3.0\n")
    assert (reward_identity(spec), reward_provenance(spec)) == before
    units.write_text("import package.more\nUNIT = 3.0\n")
    assert reward_identity(spec) != before[0]
    assert reward_provenance(spec) != before[1]
    # Without neighbours, a file alone is what version 0.1 knew.
    unused.write_text("import json\n\ndef mine(prompts, texts):\n    return [1.0]\n")
    assert reward_provenance(f"function:{unused}:mine") == {"digest": file_digest(unused)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", r"mine.py:broken failed in mine.py, line 11: ZeroDivisionError"),
        ("few", r"mine.py:few returned \[1.0\]; expected 2 finite rewards"),
        ("endless", r"returned \[inf, inf\]; expected 2 finite rewards"),
        ("nothing", r"mine.py:nothing failed: TypeError"),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_place(code, name, reason):
    with pytest.raises(CodeError, match=reason):
        load_reward(f"function:{code}:{name}").score(["p", "p"], ["a", "b"])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("function:{}/none.py:brief", "none.py: no such file"),
        ("function:{}/mine.py:number", "mine.py: has no function 'number'; it has brief, broken"),
        ("function:{}/mine.py", "expected function:FILE.py:NAME"),
        ("function:", "expected function:FILE.py:NAME"),
        ("function:{}/mine:brief", "expected FILE.py or PACKAGE.MODULE before :brief"),
        (
            "function:no_such_module:brief",
            "module 'no_such_module' could not be imported: ModuleNotFoundError",
        ),
        ("function:{}/bad.py:brief", "bad.py: could not be imported in bad.py, line 2: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_opened_is_refused(code, spec, reason):
    (code.parent / "bad.py").write_text("\n1 / 0\n")
    with pytest.raises(InputError, match=reason):
        load_reward(spec.format(code.parent))


def test_no_folder_names_code_that_runs_here(code, tmp_path):
    spec = f"function:{code}:brief"
    with pytest.raises(InputError, match="a function cannot be a member of an ensemble"):
        open_members([spec, "runs/b"])
    with pytest.raises(InputError, match="'model': does not apply to a function"):
        load_reward(spec, model="tiny-random")
    folder = tmp_path / "theirs"
    card = Card("ensemble", "", 0, {}, {}, {}, {}, {})
    save_ensemble(
        folder, {spec: load_reward(spec), "other": load_reward(spec)}, [Scale(0, 1)] * 2, "mean", card
    )
    for opened in (load_reward, lambda place: reward_provenance(str(place))):
        with pytest.raises(InputError, match="a function cannot be a member"):
            opened(folder)
