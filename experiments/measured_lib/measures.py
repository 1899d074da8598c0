"""Objectives that a program measures, each by two instruments of different make.

Methods see the first instrument only. The second one measures the same quality by another lexicon or index,
so that a policy that has learned the weaknesses of the first gains nothing by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pluralign as pl

Measure = Callable[[str], float]
"""Function from a text to a number; larger is more of the quality."""


@dataclass(frozen=True)
class Quality:
    """A quality of texts and its two instruments.

    Args:
        name: Name of the objective.
        first: Instrument that methods are trained with, and its name.
        second: Instrument that only measures, and its name.
    """

    name: str
    first: tuple[str, Measure]
    second: tuple[str, Measure]

    @property
    def reward(self) -> pl.FunctionReward:
        """The first instrument as a reward."""
        name, measure = self.first
        return pl.FunctionReward(name, lambda prompts, texts: [measure(text) for text in texts])


def compound(text: str) -> float:
    """Sentiment in [-1, 1] (VADER, Hutto and Gilbert 2014)."""
    return float(_vader().polarity_scores(text)["compound"])


def valence(text: str) -> float:
    """Sum of the words' sentiments per word (AFINN, Nielsen 2011)."""
    return float(_afinn().score(text)) / max(1, len(text.split()))


def frequency(text: str) -> float:
    """Mean Zipf frequency of the words: log10 of occurrences per billion words (wordfreq, Speer 2022)."""
    wordfreq = _wordfreq()
    words = wordfreq.tokenize(text, "en")
    return sum(wordfreq.zipf_frequency(word, "en") for word in words) / max(1, len(words))


def few_syllables(text: str) -> float:
    """Mean number of syllables of a word, with a minus sign; counted by places of hyphenation (pyphen)."""
    words = re.findall(r"[^\W\d_]+", text)
    return -sum(1 + len(_hyphens().positions(word)) for word in words) / max(1, len(words))


def question_marks(text: str) -> float:
    """Number of question marks, at most 3."""
    return float(min(3, text.count("?")))


def asking_words(text: str) -> float:
    """Share of the sentences whose first word asks: an interrogative or an auxiliary verb."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if one.strip()]
    first = [re.findall(r"[a-z']+", one.lower())[:1] for one in sentences]
    return sum(bool(words) and words[0] in _ASKING for words in first) / max(1, len(sentences))


def second_person(text: str) -> float:
    """Share of the words that are pronouns of the second person."""
    words = re.findall(r"[a-z']+", text.lower())
    return sum(word in _YOU for word in words) / max(1, len(words))


def imperatives(text: str) -> float:
    """Share of the words that are verbs in which advice is given: use, try, make sure."""
    words = re.findall(r"[a-z']+", text.lower())
    return sum(word in _ADVICE for word in words) / max(1, len(words))


def few_words(text: str) -> float:
    """Number of words, with a minus sign."""
    return -float(len(text.split()))


def few_sentences(text: str) -> float:
    """Number of sentences and lines, with a minus sign."""
    return -float(len([one for one in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if one.strip()]))


_ASKING = frozenset(
    re.findall(
        r"[a-z']+",
        "what which who whom whose when where why how do does did is are was were can could will would shall "
        "should have has had may might am isn't aren't don't doesn't didn't can't couldn't won't wouldn't",
    )
)

_YOU = frozenset(re.findall(r"[a-z']+", "you your yours yourself yourselves you're you'll you've you'd"))
_ADVICE = frozenset(
    re.findall(
        r"[a-z]+",
        "add avoid check choose consider create cut ensure find follow get keep look make mix place put "
        "remember set start take try use",
    )
)

QUALITIES = {
    one.name: one
    for one in (
        Quality("cheerful", ("VADER", compound), ("AFINN per word", valence)),
        Quality("plain", ("word frequency", frequency), ("few syllables", few_syllables)),
        Quality("asking", ("question marks", question_marks), ("sentences that ask", asking_words)),
        Quality("addressing", ("second person", second_person), ("verbs of advice", imperatives)),
        Quality("brief", ("few words", few_words), ("few sentences", few_sentences)),
    )
}
"""Qualities by name."""


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@cache
def _afinn() -> Any:
    from afinn import Afinn

    return Afinn()


@cache
def _wordfreq() -> Any:
    import wordfreq

    return wordfreq


@cache
def _hyphens() -> Any:
    import pyphen

    return pyphen.Pyphen(lang="en_US")
