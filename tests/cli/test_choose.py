"""Weighted best-of-N from files, as a person would run it, on a tiny model with two planted rewards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from json_lines import rows_of, write

import pluralign.evaluate.rewards.scored

ENDS = {"lively": ("!", "."), "calm": (".", "!")}
TEXTS = ["!", ".", "!!", "..", " a!", " b.", " c!.", " d.!"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two opposite reward models that say how sure they are, and samples, some of which each likes."""
    from pluralign.cli import main

    made = tmp_path_factory.mktemp("made")
    words = [f"{a}{b}" for a in "abcd" for b in "efgh"]
    for name, (good, bad) in ENDS.items():
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}{good}", "rejected": f" {w}{bad}"} for w in words]
        write(made / f"{name}.jsonl", rows)
        with pytest.raises(SystemExit) as ended:
            main(
                ["learn", "bt-variance", "--data", str(made / f"{name}.jsonl"), "--model", "tiny-random",
                 "--out", str(made / name), "--training.bf16", "False", "--training.learning-rate", "3e-3"]
            )  # fmt: skip
        assert not ended.value.code
    # Numbered downwards, so that a sample's number is not its place.
    rows = [
        {"prompt": f"Say {x}y:", "completion": f" {x}y{text}", "sample": 20 - i}
        for x in "abcdef"
        for i, text in enumerate(TEXTS)
    ]
    write(made / "draws.jsonl", rows)
    return made


@pytest.fixture
def options(folders):
    """The verb with all that it needs but weights and --out."""
    given = [f"{name}={folders / name}" for name in ENDS]
    return ["choose", "--completions", folders / "draws.jsonl", "--rewards", *given]


def kept(out, field):
    """By objective, shape (prompts, samples)."""
    rows = rows_of(out.with_name(f"{out.stem}.rewards.jsonl"))[1:]
    names = dict.fromkeys(row["scorer"] for row in rows)
    return {name: np.array([row[field] for row in rows if row["scorer"] == name]) for name in names}


@pytest.mark.parametrize("name", ENDS)
def test_all_the_weight_on_one_chooses_its_best(run, options, tmp_path, capsys, name):
    out = tmp_path / "chosen.jsonl"
    other = next(key for key in ENDS if key != name)
    assert run(*options, "--weights", f"{name}=1,{other}=0", "--out", out) == 0
    means, rows = kept(out, "rewards"), rows_of(out)
    assert list(means) == [name], "what has no weight is not opened"
    best = means[name].argmax(axis=1)
    assert [row["prompt"] for row in rows] == [f"Say {x}y:" for x in "abcdef"]
    assert [row["completion"] for row in rows] == [
        f" {x}y{TEXTS[i]}" for x, i in zip("abcdef", best, strict=True)
    ]
    assert [row["sample"] for row in rows] == [20 - i for i in best]
    sigmas = kept(out, "sigmas")
    for number, (row, i) in enumerate(zip(rows, best, strict=True)):
        assert row["rewards"] == {name: {"mean": means[name][number, i], "sigma": sigmas[name][number, i]}}
        assert row["weights"] == {name: 1.0, other: 0.0}
    told = capsys.readouterr().out
    assert f"wrote {out}  (the best of 48 completions of 6 prompts)" in told


@pytest.mark.parametrize("raw", [False, True])
def test_mixed_weights_choose_by_the_sum(run, options, tmp_path, raw):
    out, figures = tmp_path / "chosen.jsonl", tmp_path / "figures.json"
    more = ("--weights", "lively=0.4,calm=0.6", "--out", out, "--json", figures, "--raw", raw)
    assert run(*options, *more) == 0
    means, rows = kept(out, "rewards"), rows_of(out)
    deviation = {n: 1.0 if raw else np.sqrt(own.var(axis=1).mean()) for n, own in means.items()}
    total = 0.4 * means["lively"] / deviation["lively"] + 0.6 * means["calm"] / deviation["calm"]
    assert [20 - row["sample"] for row in rows] == total.argmax(axis=1).tolist()
    assert [row["weighted_reward"] for row in rows] == pytest.approx(total.max(axis=1).tolist())
    found = json.loads(figures.read_text())
    assert (found["prompts"], found["completions"]) == (6, 48)
    assert found["scales"] == (None if raw else pytest.approx(deviation))
    for name, own in means.items():
        chosen = own[np.arange(6), total.argmax(axis=1)].mean()
        assert found["means"][name] == pytest.approx(
            {"all": own.mean(), "chosen": chosen, "own_best": own.max(axis=1).mean()}
        )


def test_a_lower_bound_changes_the_choice(run, options, tmp_path):
    out = tmp_path / "chosen.jsonl"
    given = ("--weights", "lively=1", "--out", out)
    assert run(*options, *given) == 0
    trusting = rows_of(out)
    # The tiny model is nearly as sure of one answer as of another.
    assert run(*options, *given, "--lower-bound", "200") == 0
    wary = rows_of(out)
    mean, sigma = kept(out, "rewards")["lively"], kept(out, "sigmas")["lively"]
    assert sigma.min() > 0
    assert [20 - row["sample"] for row in wary] == (mean - 200 * sigma).argmax(axis=1).tolist()
    assert [row["sample"] for row in wary] != [row["sample"] for row in trusting]


def test_an_interrupted_run_continues_and_other_weights_read_no_model(run, options, tmp_path, monkeypatch):
    monkeypatch.setattr("pluralign.evaluate.rewards.scored._BATCH", 16)
    more = ("--weights", "lively=0.5,calm=0.5", "--out")
    whole, out = tmp_path / "whole" / "chosen.jsonl", tmp_path / "out" / "chosen.jsonl"
    assert run(*options, *more, whole) == 0
    real, opened, left = pluralign.evaluate.rewards.scored.load_rewards, [], 4

    def load_rewards(given, *, dtype=None):
        ((name, spec),) = given.items()
        opened.append(spec)
        (scorer,) = real(given, dtype=dtype).values()
        score = scorer.score_decisions

        def limited(decisions):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return score(decisions)

        scorer.score_decisions = limited
        return {name: scorer}

    monkeypatch.setattr("pluralign.evaluate.rewards.scored.load_rewards", load_rewards)
    assert run(*options, *more, out) == 130
    assert not out.exists()
    # Of three batches of each, the second model has two to go.
    opened.clear()
    left = 2
    assert run(*options, *more, out) == 0
    assert len(opened) == 1
    assert out.read_bytes() == whole.read_bytes()
    assert kept(out, "sigmas")["calm"].tolist() == kept(whole, "sigmas")["calm"].tolist()
    opened.clear()
    assert run(*options, "--weights", "lively=0.9,calm=0.1", "--out", out) == 0
    assert not opened
    assert rows_of(out)[0]["weights"] == {"lively": 0.9, "calm": 0.1}


def test_messages_come_back_as_they_were(run, options, tmp_path, capsys):
    asked = [{"role": "user", "content": "Say ay."}]
    replies = [[{"role": "assistant", "content": text}] for text in ("ay!", "ay.")]
    rows = [{"prompt": asked, "completion": reply} for reply in replies]
    rows.append({"prompt": "Say by:", "completion": " by"})
    mixed = write(tmp_path / "mixed.jsonl", rows)
    given = [mixed if option == options[2] else option for option in options]
    out = tmp_path / "chosen.jsonl"
    assert run(*given, "--weights", "lively=1", "--out", out) == 0
    first, second = rows_of(out)
    assert first["prompt"] == asked
    assert first["completion"] == replies[first["sample"]]
    assert (second["completion"], second["sample"]) == (" by", 0)
    assert "prompts with one completion: 1" in capsys.readouterr().out


def test_bad_input_is_one_line(run, refuses, options, folders, tmp_path):
    out = ("--out", tmp_path / "chosen.jsonl")
    even = ("--weights", "lively=0.5,calm=0.5")
    assert "unknown objective 'loud'" in refuses(*options, "--weights", "loud=1", *out)
    assert "expected NAME=NUMBER" in refuses(*options, "--weights", "lively", *out)
    assert "must sum to 1" in refuses(*options, "--weights", "lively=0.5", *out)
    assert "must be 0 or more, found -1" in refuses(*options, *even, *out, "--lower-bound=-1")
    assert "--lower-bound: expected a number, found 'nan'" in refuses(
        *options, *even, *out, "--lower-bound", "nan"
    )
    place = options.index("--rewards")
    assert "expected NAME=REWARD, found 'x'" in refuses(*options[: place + 1], "x", *even, *out)
    rest = [*options[place:], *even, *out]
    assert "none.jsonl" in refuses("choose", "--completions", tmp_path / "none.jsonl", *rest)
    single = write(tmp_path / "single.jsonl", [{"prompt": p, "completion": p} for p in "xyz"])
    told = refuses("choose", "--completions", single, *rest)
    assert "single.jsonl: has one completion per prompt" in told
    same = write(tmp_path / "same.jsonl", [{"prompt": "x", "completion": "a"}] * 2)
    assert "'lively' gives all reference completions the same reward" in refuses(
        "choose", "--completions", same, *rest
    )
    assert not (tmp_path / "chosen.jsonl").exists()
    # In their own units even these can be ranked.
    assert run("choose", "--completions", single, *rest, "--raw", "True") == 0
    assert len(rows_of(tmp_path / "chosen.jsonl")) == 3


def test_rewards_of_a_version_without_sigmas_are_refused(run, refuses, options, tmp_path):
    out = tmp_path / "chosen.jsonl"
    given = (*options, "--weights", "lively=1", "--out", out)
    assert run(*given) == 0
    path = tmp_path / "chosen.rewards.jsonl"
    write(path, [{k: v for k, v in row.items() if k != "sigmas"} for row in rows_of(path)])
    assert "chosen.rewards.jsonl:2, field 'sigmas': is missing" in refuses(*given)


def test_inferred_weights_say_when_they_do_not_decide(run, options, tmp_path, capsys):
    import pluralign as pl
    from pluralign.elicit.saved import save_posterior

    def taught(*answers):
        """What is known after a person has preferred lively answers, or calm ones."""
        choices = []
        for number, lively in enumerate(answers):
            said = pl.Decision(f"q{number}", ("!", "."))
            values = ({"lively": 1.0, "calm": -1.0}, {"lively": -1.0, "calm": 1.0})
            choices.append(pl.Choice(pl.Question(said, values), 0 if lively else 1))
        return pl.infer_weights(choices, scales={"lively": 0.1, "calm": 0.1})

    out, left = tmp_path / "chosen.jsonl", {}
    for name, answers in (("many", [True, False] * 10), ("few", [True])):
        save_posterior(taught(*answers), tmp_path / f"{name}.json", {})
        assert run(*options, "--weights", tmp_path / f"{name}.json", "--out", out) == 0
        rows = rows_of(out)
        assert all(row["decided"] == (len(row["undominated"]) == 1) for row in rows)
        assert all(row["sample"] in row["undominated"] for row in rows)
        undecided = sum(not row["decided"] for row in rows)
        assert f"of {undecided} prompts (decided: false)" in capsys.readouterr().out
        left[name] = sum(len(row["undominated"]) for row in rows)
    # After one answer, weights leave more samples than after twenty.
    assert left["many"] < left["few"]
    assert undecided >= 1
    assert run(*options, "--weights", tmp_path / "many.json", "--raw", "True", "--out", out) == 2
    assert (
        run(*options[:-2], options[-1], "--weights", tmp_path / "many.json", "--out", tmp_path / "b.jsonl")
        == 2
    )


def test_a_verdict_is_on_what_the_completions_are_chosen_by(tmp_path):
    import pluralign as pl
    from pluralign.core import OptionRewards
    from pluralign.data.answers import load_answers
    from pluralign.evaluate.rewards.choose import choose_best

    class Unsure:
        """A reward that is higher for a text of which it is not sure."""

        name, counts = "unsure", {}

        def score_decisions(self, decisions):
            wild = [np.array([float(option == " wild") for option in one.options]) for one in decisions]
            return [OptionRewards(own, 3 * own) for own in wild]

    question = pl.Question(
        pl.Decision("q", ("a", "b")), ({"kind": 1.0, "brief": 0.0}, {"kind": 0.0, "brief": 1.0})
    )
    known = pl.infer_weights([pl.Choice(question, 0)])
    rows = [{"prompt": "p", "completion": text} for text in (" safe", " wild")]
    rewards = {"kind": Unsure(), "brief": Unsure()}
    for bound, best in ((0.0, 1), (1.0, 0)):
        found = choose_best(load_answers(rows), rewards, known, tmp_path / "kept.jsonl", lower_bound=bound)
        assert found.best == [best]
        assert (found.verdicts[0].decided, found.verdicts[0].undominated) == (True, (best,))


def test_a_completion_that_was_drawn_twice_is_one(tmp_path):
    import pluralign as pl
    from pluralign.core import OptionRewards
    from pluralign.data.answers import load_answers
    from pluralign.evaluate.rewards.choose import choose_best

    class Longer:
        name, counts = "longer", {}

        def score_decisions(self, decisions):
            found = [np.array([float(len(option)) for option in one.options]) for one in decisions]
            return [OptionRewards(own, 0 * own) for own in found]

    values = ({"kind": 1.0, "brief": 0.0}, {"kind": 0.0, "brief": 1.0})
    known = pl.infer_weights([pl.Choice(pl.Question(pl.Decision("q", ("a", "b")), values), 0)])
    rows = [{"prompt": "p", "completion": text} for text in (" a", " and", " and")]
    rows += [{"prompt": "r", "completion": text} for text in (" b", " b")]
    rewards = {"kind": Longer(), "brief": Longer()}
    found = choose_best(load_answers(rows), rewards, known, tmp_path / "kept.jsonl")
    assert [(one.decided, one.undominated) for one in found.verdicts] == [(True, (1, 2)), (True, (0, 1))]
    assert found.undecided == 0
