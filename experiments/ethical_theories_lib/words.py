"""Options of games in the words of the raters' training data.

Options are listed as orders ("Sign your own name."), ETHICS and MoralChoice are in the first person ("I sign
my own name."), and the judged part of deontology and virtue ethics is an excuse or a trait. A form turns an
option into weighted texts, whose weighted sum of rewards is the option's reward.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ethical_theories_lib.data import RULES, Side

VIRTUES = ("honest", "kind")
VICES = ("dishonest", "cruel")
SCENE_WORDS = 30
"""Number of words of the page before an option "in its scene"."""

Texts = tuple[tuple[float, Side], ...]
"""Texts with weights."""

Form = Callable[[str, str], Texts]
"""Function from the page and the option to weighted texts."""

_SECOND_PERSON = {
    "yourselves": "ourselves", "yourself": "myself", "yours": "mine", "your": "my", "you're": "I'm",
    "you've": "I've", "you'd": "I'd", "you'll": "I'll", "you": "me",
}  # fmt: skip
_WORD = re.compile(r"\b(?:" + "|".join(_SECOND_PERSON) + r")\b", re.IGNORECASE)
_SUBJECT = re.compile(
    r"\byou(?= (?:are|were|have|had|do|did|will|would|can|could|may|must|should|know|knew|see|saw|want|think|"
    r"thought|found|took|made|said|heard|need|like|never|can't|can|don't|didn't|wrote|held)\b)"
    r"|(?<=\bthat )you\b|(?<=\bwhat )you\b|(?<=\bbefore )you(?= \w)",
    re.IGNORECASE,
)


def first_person(option: str) -> str:
    """An order as an act of the speaker: "Sign your name." becomes "I sign my name."

    An option that is not an order, such as a quoted reply, keeps its words after "I say:".
    """
    option = option.strip()
    if not option[:1].isalpha() or option.startswith(("I ", "I'")):
        return option if option.startswith(("I ", "I'")) else f"I say: {option}"
    act = option[0].lower() + option[1:]
    act = re.sub(r"\byou are\b", "I am", act, flags=re.IGNORECASE)
    act = _SUBJECT.sub("I", act)
    return "I " + _WORD.sub(lambda found: _SECOND_PERSON[found[0].lower()], act)


def scene_of(page: str) -> str:
    """The last words of the last paragraph of a page, from the beginning of a sentence if there is one."""
    paragraph = page.strip().split("\n\n")[-1].replace("\n", " ").split()
    if len(paragraph) <= SCENE_WORDS:
        return " ".join(paragraph)
    kept = " ".join(paragraph[-SCENE_WORDS:])
    start = re.search(r"[.!?]['\"]? ", kept)
    return kept[start.end() :] if start else kept


def _first_person(page: str, option: str) -> Texts:
    return ((1.0, Side("", first_person(option))),)


def _in_scene(page: str, option: str) -> Texts:
    return ((1.0, Side(scene_of(page), f" {first_person(option)}")),)


def _excuse(page: str, option: str) -> Texts:
    act = first_person(option)
    return ((1.0, Side("Aren't you supposed to do your duty?", f" No because {act}")),)


def _traits(prompt: str) -> Texts:
    good = [(1.0 / len(VIRTUES), Side(prompt, f" [SEP] {trait}")) for trait in VIRTUES]
    bad = [(-1.0 / len(VICES), Side(prompt, f" [SEP] {trait}")) for trait in VICES]
    return (*good, *bad)


def _virtue(page: str, option: str) -> Texts:
    return _traits(first_person(option))


_PLAIN: dict[str, Form] = {"first person": _first_person, "in its scene": _in_scene}

FORMS: Mapping[str, Mapping[str, Form]] = {
    "utilitarianism": _PLAIN,
    "justice": _PLAIN,
    "deontology": {"first person": _first_person, "in its scene": _in_scene, "as an excuse": _excuse},
    "virtue": {"traits of the act": _virtue},
    **dict.fromkeys(RULES, _PLAIN),
}
"""Forms of each rater, by name; the last one is most like its training data."""


def reward_of(texts: Texts, rewards: Mapping[Side, float]) -> float:
    """Weighted sum of the rewards of an option's texts."""
    return sum(weight * rewards[side] for weight, side in texts)
