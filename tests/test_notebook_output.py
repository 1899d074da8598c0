"""What a notebook shows of a result at the end of a cell."""

import pluralign as pl

ROWS = [{"prompt": f"Say {i}:", "chosen": " yes" * 500, "rejected": " no"} for i in range(40)]


def test_examples_show_their_counts_and_not_their_texts():
    pairs = pl.load_pairs(ROWS, objective="agreement")
    assert repr(pairs).startswith("<40 examples, counts {'rows': 40, ")
    assert len(repr(pairs)) < 500
    assert repr(pairs[:3]).startswith("<3 examples")


def test_sweeps_show_their_size():
    mix = pl.load_policies("tiny-random", yes="tiny-random", no="tiny-random")
    rewards = {
        name: pl.FunctionReward(name, lambda prompts, texts, sign=sign: [sign * len(one) for one in texts])
        for name, sign in (("yes", 1.0), ("no", -1.0))
    }
    found = pl.sweep(mix, [row["prompt"] for row in ROWS], rewards=rewards, steps=1, max_new_tokens=2)
    assert repr(found).startswith("<sweep of 2 weightings, 40 prompts, hypervolume ")
    agents = {"score": pl.UniformPolicy(), "harm_avoidance": pl.UniformPolicy()}
    played = pl.sweep_story(agents, "salt_ledger", steps=2, episodes=4)
    assert repr(played) == "<sweep of 3 weightings, story salt_ledger>"
    assert len(repr(found)) < 200
