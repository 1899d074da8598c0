"""Files of sides."""

import json
from pathlib import Path

import pytest

from pluralign.core import InputError, SteeringWeights
from pluralign.evaluate.sweeps.alternatives import FixedPolicy, GuidedModel, OtherPolicies, read_sides


def sides_file(folder, **sides):
    path = folder / "sides.json"
    path.write_text(json.dumps(sides))
    return path


def fixed(label, folder, **weights):
    return {"label": label, "weights": weights, "folder": str(folder)}


def test_a_file_of_sides_is_read(tmp_path):
    guided = {"strength": 2, "folders": {"a": "v/a", "b": "v/b"}}
    other = {"label": "heads", "folders": {"a": "h", "b": "h"}}
    made = fixed("modpo", "runs/x", b=0.25, a=0.75)
    assert read_sides(sides_file(tmp_path, fixed=[made], guided=[guided], others=[other])) == (
        [FixedPolicy("modpo", SteeringWeights(a=0.75, b=0.25), Path("runs/x"))],
        [GuidedModel(2.0, {"a": Path("v/a"), "b": Path("v/b")})],
        [OtherPolicies("heads", {"a": Path("h"), "b": Path("h")})],
    )
    assert read_sides(sides_file(tmp_path)) == ([], [], [])
    for sides, message in (
        ({"fixed": [fixed("one", "d", a=0.5)]}, "sides.json:1, field 'weights': .*must sum to 1"),
        ({"fixed": [made, fixed("one", "d", a=-1)]}, "sides.json:2, field 'weights.a': .*not negative"),
        ({"fixed": [{"label": "one", "weights": {"a": 1}}]}, "sides.json:1, field 'folder'"),
        ({"fixed": ["one"]}, "field 'fixed': expected a list of objects"),
        ({"guided": [guided, {"strength": "2", "folders": {}}]}, "sides.json:2, field 'strength'"),
        ({"others": [{**other, "label": ""}]}, "sides.json:1, field 'label': must not be empty"),
        ({"fixd": []}, "field 'fixd': expected only the lists"),
    ):
        with pytest.raises(InputError, match=message):
            read_sides(sides_file(tmp_path, **sides))
