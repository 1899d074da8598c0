"""Placement of labels near points without overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core.arrays import FloatArray

_ANGLES = [math.pi * k / 8 for k in (0, 8, 4, 12, 2, 6, 14, 10, 1, 15, 7, 9, 3, 5, 11, 13)]
_REACHES = (6.0, 12.0, 20.0, 32.0, 48.0, 68.0, 92.0, 120.0)
_NEAR = 20.0
_FORBIDDEN = 1e6
_NO_LEADER: FloatArray = np.zeros((0, 2))
_ROUNDS = 4


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Area in common, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, frame: Box) -> float:
        """Area outside of a frame, in square pixels."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(frame)

    def nearest(self, point: tuple[float, float]) -> tuple[float, float]:
        """The point of the rectangle nearest to a point."""
        return (min(max(point[0], self.left), self.right), min(max(point[1], self.bottom), self.top))

    def holds(self, points: FloatArray) -> int:
        """Number of these points, shape (points, 2), inside the rectangle."""
        x, y = points[:, 0], points[:, 1]
        return int(((x > self.left) & (x < self.right) & (y > self.bottom) & (y < self.top)).sum())


@dataclass(frozen=True)
class Label:
    """Position of a label.

    Args:
        box: Rectangle of the label.
        leader: Points along the line from the label to its point, shape (points, 2); empty if it is near.
    """

    box: Box
    leader: FloatArray


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    marks: Sequence[Box],
    lines: FloatArray,
) -> list[Label]:
    """Place each label near its point: inside the frame, without covering other labels or marks, off the
    lines if possible, closer to its own point than to others, and as near as that allows.

    Each label in turn takes the cheapest of 128 positions given the others, for four rounds; the best result
    over several orders is kept.

    Args:
        anchors: Points, in pixels.
        sizes: Widths and heights of the labels, in pixels.
        frame: Rectangle that must contain the labels.
        marks: Rectangles that must not be covered.
        lines: Points along lines to avoid, shape (points, 2).
    """
    places = [_places(anchor, size) for anchor, size in zip(anchors, sizes, strict=True)]
    sides = np.array([[mark.left, mark.bottom, mark.right, mark.top] for mark in marks]).reshape(-1, 4)
    costs = [
        [reach + _cost(label, anchor, anchors, frame, marks, sides, lines) for label, reach in options]
        for anchor, options in zip(anchors, places, strict=True)
    ]
    labels = [[label for label, _ in options] for options in places]
    turns = list(range(len(anchors)))
    orders = [turns[k:] + turns[:k] for k in turns[:: max(1, len(turns) // 3)]]
    outcomes = [_take_turns(order, labels, costs) for order in [*orders, *(o[::-1] for o in orders)]]
    cheapest = min(outcomes, key=lambda outcome: outcome[0])
    return [labels[i][choice] for i, choice in enumerate(cheapest[1])]


def _take_turns(
    order: Sequence[int], labels: Sequence[Sequence[Label]], costs: Sequence[Sequence[float]]
) -> tuple[float, list[int]]:
    """Total cost, and the index of each label's position."""
    chosen: dict[int, int] = {}

    def cost(i: int, choice: int) -> float:
        label = labels[i][choice]
        return costs[i][choice] + sum(_clash(label, labels[j][c]) for j, c in chosen.items() if j != i)

    for _ in range(_ROUNDS):
        before = dict(chosen)
        for i in order:
            # Beyond the cheapest position without overlaps, no position with a higher own cost can win.
            best, lowest = 0, math.inf
            for choice in np.argsort(costs[i], kind="stable").tolist():
                if costs[i][choice] >= lowest:
                    break
                found = cost(i, choice)
                if found < lowest:
                    best, lowest = choice, found
            chosen[i] = best
        if chosen == before:
            break
    choices = [chosen[i] for i in range(len(labels))]
    return sum(cost(i, choice) for i, choice in enumerate(choices)), choices


def _places(anchor: tuple[float, float], size: tuple[float, float]) -> list[tuple[Label, float]]:
    places: list[tuple[Label, float]] = []
    for reach in _REACHES:
        for angle in _ANGLES:
            x = anchor[0] + math.cos(angle) * (reach + size[0] / 2)
            y = anchor[1] + math.sin(angle) * (reach + size[1] / 2)
            box = Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)
            places.append((Label(box, _leader(anchor, box) if reach > _NEAR else _NO_LEADER), reach))
    return places


def _leader(anchor: tuple[float, float], box: Box) -> FloatArray:
    return np.linspace(anchor, box.nearest(anchor), 24)


def _cost(
    label: Label,
    anchor: tuple[float, float],
    anchors: Sequence[tuple[float, float]],
    frame: Box,
    marks: Sequence[Box],
    sides: FloatArray,
    lines: FloatArray,
) -> float:
    # Leaving the frame is prohibitive; covering a mark is worse than any distance; a line, or being close to
    # another point without a leader, costs as much as 20 to 40 pixels.
    box, outside = label.box, label.box.outside(frame)
    covered = sum(box.overlap(mark) for mark in marks)
    crossed = min(box.holds(lines), 10) if len(lines) else 0
    passed = _passed(label.leader[3:], sides) if len(label.leader) else 0
    own = math.dist(anchor, box.nearest(anchor))
    misread = sum(math.dist(a, box.nearest(a)) < 1.3 * own for a in anchors if a != anchor)
    astray = misread * (10.0 if len(label.leader) else 40.0)
    return _FORBIDDEN * outside + 50.0 * covered + 6.0 * crossed + 6.0 * passed + astray


def _passed(points: FloatArray, sides: FloatArray) -> int:
    """Number of rectangles (left, bottom, right, top), shape (rectangles, 4), that hold one of the points."""
    x, y = points[:, 0], points[:, 1]
    left, bottom, right, top = sides.T[:, :, None]
    return int(((x > left) & (x < right) & (y > bottom) & (y < top)).any(axis=1).sum())


def _clash(one: Label, other: Label) -> float:
    struck = one.box.holds(other.leader) if len(other.leader) else 0
    struck += other.box.holds(one.leader) if len(one.leader) else 0
    return _FORBIDDEN * one.box.overlap(other.box) + 40.0 * struck
