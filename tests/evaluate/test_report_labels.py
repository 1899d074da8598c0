"""Labels of points in the report's figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.evaluate.report.labels import Box, place_labels


@given(st.lists(st.tuples(st.integers(20, 480), st.integers(20, 330)), min_size=1, max_size=9, unique=True))
def test_labels_never_overlap(anchors: list[tuple[int, int]]) -> None:
    frame = Box(0, 0, 500, 350)
    sizes = [(40.0 + 17 * (i % 4), 12.0) for i in range(len(anchors))]
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    line = np.stack([np.linspace(0, 500, 100), np.linspace(350, 0, 100)], axis=1)
    placed = place_labels([(float(x), float(y)) for x, y in anchors], sizes, frame, marks, line)
    for i, label in enumerate(placed):
        assert label.box.outside(frame) == pytest.approx(0.0, abs=1e-6)
        for other in placed[:i]:
            assert label.box.overlap(other.box) == 0.0


def test_a_lone_label_sits_beside_its_point() -> None:
    (label,) = place_labels([(100.0, 100.0)], [(40.0, 12.0)], Box(0, 0, 500, 350), [], np.zeros((0, 2)))
    assert (label.box.left, len(label.leader)) == (106.0, 0)
    assert (label.box.bottom, label.box.top) == pytest.approx((94.0, 106.0))


def test_a_leader_strikes_through_no_label() -> None:
    # A wall of marks drives the first label far off; the second must not lie on its leader.
    wall = [Box(60, 40, 140, 99), Box(60, 101, 140, 160), Box(60, 40, 99, 160), Box(101, 40, 140, 160)]
    placed = place_labels(
        [(100.0, 100.0), (160.0, 100.0)], [(40.0, 12.0)] * 2, Box(0, 0, 500, 350), wall, np.zeros((0, 2))
    )
    assert len(placed[0].leader) > 0
    assert placed[1].box.holds(placed[0].leader) == 0


def test_labels_keep_off_marks_and_lines_where_they_can() -> None:
    line = np.stack([np.linspace(100, 500, 200), np.full(200, 100.0)], axis=1)
    mark = Box(50, 90, 95, 110)
    (label,) = place_labels([(100.0, 100.0)], [(40.0, 12.0)], Box(0, 0, 500, 350), [mark], line)
    assert label.box.overlap(mark) == 0.0
    assert label.box.holds(line) == 0
