"""Colours and the style sheet: one palette, light and dark, safe for the colour-blind."""

from __future__ import annotations

import re

from pluralign.evaluate.report.model import Kind

# Drawn with these stand-ins and turned into the style sheet's colours afterwards, so that figures
# follow the reader's light or dark scheme.
STAND_INS = {
    "ink": "#010203",
    "muted": "#010204",
    "rule": "#010205",
    "paper": "#010206",
    "first": "#010207",
    "second": "#010208",
    "learned": "#010209",
    "language": "#01020a",
    "cloned": "#01020b",
    "shade": "#01020c",
}
KIND_COLOURS: dict[Kind, str] = {
    "random": "muted",
    "online": "ink",
    "language_model": "language",
    "cloned": "cloned",
    "learned": "learned",
}
KIND_MARKERS: dict[Kind, str] = {
    "random": "X",
    "online": "s",
    "language_model": "D",
    "cloned": "^",
    "learned": "o",
}
_BLEND = re.compile(r"#0103([0-9a-f]{2})\b")


def stand_in(name: str) -> str:
    """The stand-in of a named colour."""
    return STAND_INS[name]


def blend_stand_in(weight: float) -> str:
    """The stand-in of the colour of a weight from 0 (second objective) to 1 (first)."""
    return f"#0103{round(100 * weight):02x}"


def with_scheme_colours(svg: str) -> str:
    """Replace the stand-ins in a drawing by the style sheet's colours."""
    for name, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return _BLEND.sub(lambda m: blend_css(int(m[1], 16) / 100), svg)


def blend_css(weight: float) -> str:
    """The colour of a weight, in CSS."""
    return f"color-mix(in oklch, var(--first) {round(100 * weight)}%, var(--second))"
