import pytest

from pluralign.annotate.letter import parse_letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("A", "A"),
        (" b.", "B"),
        ("**B**", "B"),
        ("(A)", "A"),
        ("Course B", "B"),
        ("Course A is better.", "A"),
        ("B: it is kinder than A.", "B"),
        ("Answer: B", "B"),
        ("I choose B.", "B"),
        ("The better choice is A", "A"),
        ("<think>A? no</think> B", "B"),
        # Cut off by the largest number of tokens.
        ("<think>\nA is better than B in warmth, but", None),
        ("<think>A? no</think> <think>I choose B", None),
        ("I prefer course A", "A"),
        ("A person falls, so hard to say", None),
        ("Both A and B", None),
        ("Course A or Course B", None),
        ("", None),
        ("neither", None),
        ("C", None),
        ("Abe", None),
        ("A is better than B", "A"),
        ("Answer A is better than answer B.", "A"),
        ("I think that B is clearly the better course than A.", "B"),
        # The aim may be to do less harm.
        ("A is more harmful than B.", None),
        ("Course A is more harmful.", None),
        ("Course A is worse.", None),
        ("My final answer is: B", "B"),
        ("I weighed both.\nFinal answer:\n\nB", "B"),
        ("I would go for course B, because course A is cruel.", "B"),
        ("I would go for course A or course B", None),
        ("I would choose A or B", None),
        ("I would not choose A, but B.", None),
        ("I wouldn't choose A; B is better.", "B"),
        ("I don\u2019t prefer A.", None),
        ("I prefer neither A nor B.", None),
        ("The answer is not B.", None),
        ("I would never choose B over A.", None),
        ("I reject course A.", None),
        ("I can't say A is better than B.", None),
        ("A: it is cruel.\nB: it is kind.\nThe better course is B.", "B"),
        ("A: it is cruel. B: it is kind. I choose B.", "B"),
        ("A. It is cruel.\nB. It is kind.\nI choose B.", "B"),
        ("A) It is cruel.\nB) It is kind.", None),
        ("B. I prefer it to A.", "B"),
        ("B. A is cruel.", "B"),
        ("A, B", None),
        ("a) or b)", None),
        ("Neither A nor B is better.", None),
        ("A is not better than B", None),
    ],
)
def test_parse_letter(reply, letter):
    assert parse_letter(reply) == letter
