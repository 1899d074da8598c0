import functools
import inspect
import linecache
import re
import sys
from functools import partial
from types import ModuleType

import pytest
import torch

from pluralign.core.digests import digest
from pluralign.core.function_digests import function_digest


class Scaled:
    def __init__(self, scale):
        self.scale, self.calls = scale, []

    def __call__(self, x):
        self.calls.append(x)
        return self.scale * x

    def twice(self, x):
        return self(2 * x)


def scaled(x, scale=1.0):
    return scale * x


def scaled_by(scale):
    calls = []

    def function(x, *, power=1):
        calls.append(x)
        return scale * x**power

    return function


def with_default(scale):
    return lambda x, scale=scale: scale * x


def test_functions_are_told_apart_by_what_they_were_made_with():
    made = [
        (scaled, partial(scaled, scale=2.0), partial(scaled, scale=3.0)),
        (partial(scaled, scale=(1, [2])), partial(scaled, scale=(1, [3]))),
        (Scaled(1), Scaled(2)),
        (Scaled(1).twice, Scaled(2).twice),
        (scaled_by(1.0), scaled_by(2.0)),
        (with_default(1), with_default(2)),
    ]
    for functions in made:
        assert len({function_digest(one) for one in functions}) == len(functions)
    assert function_digest(scaled_by(1.0)) == function_digest(scaled_by(1.0))
    # Objects have addresses in their texts, and lists are filled in use.
    one = Scaled(1)
    before = function_digest(partial(one, object()))
    one(3)
    assert function_digest(partial(one, object())) == before
    assert function_digest(print) == ""


def test_a_function_with_nothing_else_has_the_digest_of_its_source():
    def plain(x):
        return x

    assert function_digest(plain) == digest([inspect.getsource(plain).encode()])


NOTEBOOK = """
MARGIN, WORDS, CALLS, count = 1.0, ["good"], [], 0

class Settings:
    def __init__(self, scale):
        self.scale = scale

SETTINGS = Settings(1.0)

def helper(x):
    return {body}

def with_globals(x):
    return MARGIN * x

def with_words(texts):
    return [sum(word in text for word in WORDS) for text in texts]

def with_helper(x):
    return helper(x)

def with_settings(x):
    return SETTINGS.scale * x

def recording(x):
    global count
    count += 1
    CALLS.append(x)
    return x

def recursive(x):
    return recursive(x - 1) if x > 0 else MARGIN

class Lexicon:
    start = {start}

    def __init__(self, words):
        self.words = words

    def __call__(self, texts):
        return [self.start + sum(word in text for word in self.words) for text in texts]
"""


@pytest.fixture
def notebook(monkeypatch):
    """Definitions of a notebook, whose module has no file, run as a cell."""
    ran = []

    def run(body="x", start="0"):
        module, name = ModuleType("notebook"), f"<cell {len(ran)}>"
        ran.append(NOTEBOOK.format(body=body, start=start))
        monkeypatch.setitem(sys.modules, "notebook", module)
        monkeypatch.setitem(linecache.cache, name, (len(ran[-1]), None, ran[-1].splitlines(True), name))
        exec(compile(ran[-1], name, "exec"), module.__dict__)
        return module

    return run


@pytest.mark.parametrize(
    ("function", "changed", "value"),
    [
        ("with_globals", "MARGIN", 2.0),
        ("recursive", "MARGIN", 2.0),
        ("with_words", "WORDS", ["good", "great"]),
        ("with_words", "WORDS", {"good"}),
    ],
)
def test_functions_are_told_apart_by_the_globals_that_they_name(notebook, function, changed, value):
    one = notebook()
    before = function_digest(getattr(one, function))
    assert before
    assert function_digest(getattr(notebook(), function)) == before
    one.unused = 1
    assert function_digest(getattr(one, function)) == before
    setattr(one, changed, value)
    assert function_digest(getattr(one, function)) != before


def test_functions_are_told_apart_by_functions_and_objects_that_they_use(notebook):
    one, other = notebook(), notebook(body="2 * x")
    assert function_digest(one.with_helper) != function_digest(other.with_helper)
    assert function_digest(one.with_globals) == function_digest(other.with_globals)
    assert function_digest(partial(one.with_globals, one.helper)) != function_digest(
        partial(one.with_globals, other.helper)
    )
    before = function_digest(one.with_settings)
    one.SETTINGS.scale = 2.0
    assert function_digest(one.with_settings) != before


def test_what_a_function_fills_in_use_does_not_change_its_digest(notebook):
    one = notebook()
    before = function_digest(one.recording)
    one.recording(1)
    assert function_digest(one.recording) == before


def test_objects_of_a_notebooks_classes_are_told_apart(notebook):
    one, other = notebook(), notebook(start="1")
    before = function_digest(one.Lexicon(["good"]))
    assert before
    assert function_digest(one.Lexicon(["good"])) == function_digest(notebook().Lexicon(["good"])) == before
    assert function_digest(one.Lexicon(["good", "great"])) != before
    assert function_digest(other.Lexicon(["good"])) != before
    assert function_digest(type("Mine", (one.Lexicon,), {"start": 2})(["good"])) != before


def test_functions_without_source_are_told_apart_by_their_instructions():
    made = {}
    for text in ("lambda x: x", "lambda x: 2 * x", "lambda x: [i * x for i in {'a', 'b'}]"):
        digests = {function_digest(eval(text)), function_digest(eval(text))}
        assert len(digests) == 1
        made[text] = digests.pop()
    assert all(made.values())
    assert len(set(made.values())) == len(made)


def test_functions_are_told_apart_by_what_they_use_of_the_users_modules(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_package").mkdir()
    users = {
        "through_module": "import own_helpers\ndef f(x):\n    return own_helpers.score(x)\n",
        "through_package": "import own_package.inner\ndef f(x):\n    return own_package.inner.score(x)\n",
        "imports_itself": "def f(x):\n    import own_helpers as h\n    return h.score(x)\n",
        "imports_a_name": "def f(x):\n    from own_package.inner import score\n    return score(x)\n",
        "through_library": "import math, json\ndef f(x):\n    return math.sqrt(len(json.dumps(x)))\n",
    }

    def digests(scale, unused=0):
        text = f"import math\nSCALE, UNUSED = {scale}, {unused}\n"
        text += "def score(x):\n    return math.sqrt(SCALE * x)\n"
        text += f"def unused(x):\n    return {unused}\n"
        for name in ("own_helpers", "own_package/inner"):
            (tmp_path / f"{name}.py").write_text(text)
        for name in ("own_helpers", "own_package.inner", "own_package"):
            sys.modules.pop(name, None)
        linecache.clearcache()
        found = {}
        for name, user in users.items():
            module = ModuleType(name)
            exec(compile(user, f"<{name}>", "exec"), module.__dict__)
            found[name] = function_digest(module.f)
            assert function_digest(module.f) == found[name]
        return found

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, other = digests(1), digests(2)
    assert digests(1) == digests(1, unused=1) == before
    assert {name for name in users if before[name] != other[name]} == set(users) - {"through_library"}


def test_decorated_helpers_and_regular_expressions_count(notebook):
    found = []
    for body, word in (("x", "good"), ("2 * x", "good"), ("x", "great")):
        one = notebook(body=body)
        one.word, one.cached = re.compile(word), functools.cache(one.helper)
        exec("def f(x): return cached(x) + bool(word.search(str(x)))", one.__dict__)
        found.append(function_digest(one.f))
    assert len(set(found)) == 3


class Counted:
    def __init__(self, margin):
        self.margin, self.calls = margin, 0

    def set_margin(self, margin):
        self.margin = margin

    def __call__(self, x):
        self._count()
        return self.margin * x

    def _count(self):
        self.calls += 1


class Learned(torch.nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin, self.inner = margin, torch.nn.ModuleList([])

    def forward(self, x):
        return self.margin * x


def test_what_use_changes_of_an_object_does_not_change_its_digest():
    one = Counted(1.0)
    before = function_digest(one)
    one(3)
    assert function_digest(one) == before
    one.set_margin(2.0)
    assert function_digest(one) != before


def test_a_module_is_the_same_in_training_and_in_use():
    one = Learned(1.0)
    before = function_digest(one)
    assert function_digest(one.eval()) == before
    assert function_digest(Learned(2.0)) != before


def test_values_deep_in_each_other_have_a_digest():
    deep = []
    for _ in range(2000):
        deep = [deep]
    assert function_digest(partial(scaled, deep)) == function_digest(partial(scaled, deep))
