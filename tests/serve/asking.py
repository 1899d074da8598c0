"""Questions with known values, as the server asks them."""

import itertools

import pluralign as pl
from pluralign.serve.ask import Asker

NAMES = ("one", "two", "three")


def pool(names=NAMES, may_tie=True):
    """A question for every pair of objectives, at four strengths."""
    found = []
    for first, second in itertools.permutations(names, 2):
        for strength in (0.5, 1.0):
            options = (f"An answer that is all {first}.", f"An answer that is {strength} {second}.")
            values = (
                {name: float(name == first) for name in names},
                {name: strength * (name == second) for name in names},
            )
            said = pl.Decision(f"{first} or {second} at {strength}?", options)
            found.append(pl.Question(said, values, may_tie=may_tie))
    return found


def asker(names=NAMES, questions=5, **settings):
    return Asker(pool(names, **settings), questions)


def prefers(name):
    """Answers of a person who cares for one objective alone."""

    def answer(question):
        shares = [text.count(name) for text in question["options"]]
        return "same" if shares[0] == shares[1] else shares.index(max(shares))

    return answer


def interview(server, answer, most=20, **body):
    """All replies, from the first question to the end."""
    answers, replies = [], []
    for _ in range(most):
        response = server.post("/pluralign/ask", answers=answers, **body)
        assert response.status_code == 200, response.text
        replies.append(response.json())
        question = replies[-1]["question"]
        if question is None:
            break
        answers.append({"question": question["key"], "answer": answer(question)})
    return answers, replies
