import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collect_fakes import SCORE, CannedWriter, failed, said, serving

from pluralign.annotate.agreement import agreement
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.judge import ReplyJudge
from pluralign.annotate.oracle import Noise, Oracle
from pluralign.annotate.rater import Rating
from pluralign.core import InputError, Objective
from pluralign.core.records import read_annotations, read_header, read_trajectories
from pluralign.core.splits import split_of
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings

SETTINGS = ComparisonSettings(count=40, seed=0, shares=(0.5, 0.25, 0.25))


def make_oracle(file, **noise):
    return Oracle(read_trajectories(file), noise=Noise(**noise))


def run(file, out, rater=None, settings=SETTINGS):
    return annotate(file, out, SCORE, rater or make_oracle(file), settings=settings, progress=False)


class CountingRater:
    """Prefers the first; notes what it is asked, and can fail after a number of batches."""

    name, settings, batch = "counting", {}, 4

    def __init__(self, good_for=10**9):
        self.asked, self.good_for = [], good_for

    def rate(self, comparisons, objective):
        if len(self.asked) >= self.good_for:
            raise InputError("out of order")
        self.asked += [c.id for c in comparisons]
        return [Rating("first") for _ in comparisons]


def test_a_file_is_not_continued_for_other_coefficients_of_the_objective(file, tmp_path):
    out = tmp_path / "a.jsonl"
    run(file, out)
    opposite = Objective(SCORE.name, SCORE.description, {"points": -1.0})
    with pytest.raises(InputError, match=r"field 'objective': was started with .*'coefficients'"):
        annotate(file, out, opposite, make_oracle(file), settings=SETTINGS, progress=False)
    # Files of 0.1.0 do not have them.
    text = out.read_text(encoding="utf-8")
    coefficients = json.dumps(dict(SCORE.coefficients))
    out.write_text(text.replace(f', "coefficients": {coefficients}', "", 1), encoding="utf-8")
    assert "coefficients" not in read_header(out, "annotations")["objective"]
    assert run(file, out).new_annotations == 0


def test_file_holds_all_comparisons_rated(file, tmp_path):
    out = tmp_path / "a.jsonl"
    report = run(file, out)
    annotations = read_annotations(out)
    assert report.annotations == report.new_annotations == report.comparisons == len(annotations) == 40
    assert sum(report.preferences.values()) == 40
    assert {a.rater for a in annotations} == {"oracle"}
    assert {a.objective for a in annotations} == {"score"}
    for a in annotations:
        first, second = a.info["returns"]
        assert a.preference == ("tie" if first == second else "first" if first > second else "second")
    header = read_header(out, "annotations")
    assert header["objective"]["name"] == "score"
    assert header["comparisons"]["count"] == 40
    json.dumps(report.as_json())


def test_comparisons_are_drawn_within_splits(file, tmp_path):
    run(file, tmp_path / "a.jsonl")
    for a in read_annotations(tmp_path / "a.jsonl"):
        sides = (a.comparison.first, a.comparison.second)
        assert len({split_of(s.trajectory_id, shares=SETTINGS.shares) for s in sides}) == 1


def test_cut_anywhere_and_continued_it_is_the_same_file(file, tmp_path):
    out = tmp_path / "a.jsonl"
    run(file, out, make_oracle(file, flip=0.3))
    whole = out.read_bytes()
    head = whole.index(b"\n")
    for size in (0, 9, head, head + 1, len(whole) // 2, len(whole) - 1):
        out.write_bytes(whole[:size])
        run(file, out, make_oracle(file, flip=0.3))
        assert out.read_bytes() == whole
    assert run(file, out, make_oracle(file, flip=0.3)).new_annotations == 0


def test_a_rater_that_fails_is_continued_and_nothing_is_asked_twice(file, tmp_path):
    out = tmp_path / "a.jsonl"
    broken, whole = CountingRater(good_for=8), CountingRater()
    with pytest.raises(InputError, match=r"out of order; 8 of 40 annotations are in .*a\.jsonl"):
        run(file, out, broken)
    assert run(file, out, whole).new_annotations == 32
    assert len(broken.asked) == 8
    assert not set(broken.asked) & set(whole.asked)
    assert len({a.comparison.id for a in read_annotations(out)}) == 40


@pytest.mark.parametrize(
    ("settings", "noise", "field"),
    [
        (ComparisonSettings(count=41, shares=SETTINGS.shares), {}, "comparisons"),
        (SETTINGS, {"flip": 0.1}, "settings"),
    ],
)
def test_a_file_made_otherwise_is_refused_and_kept(file, tmp_path, settings, noise, field):
    out = tmp_path / "a.jsonl"
    run(file, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=rf"a\.jsonl:1, field '{field}': was started with"):
        run(file, out, make_oracle(file, **noise), settings)
    with pytest.raises(InputError, match="field 'rater'"):
        run(file, out, CountingRater())
    assert out.read_bytes() == before


def test_other_trajectories_are_refused(file, tmp_path):
    run(file, tmp_path / "a.jsonl")
    longer = tmp_path / "t.jsonl"
    longer.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(InputError, match="field 'trajectories'"):
        run(longer, tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["my notes", '{"pluralign": "pairs", "version": 1}\n'])
def test_files_of_another_kind_are_left_alone(file, tmp_path, text):
    out = tmp_path / "a.jsonl"
    out.write_text(text)
    with pytest.raises(InputError, match=r"a\.jsonl"):
        run(file, out)
    assert out.read_text() == text


def test_what_a_dead_judge_said_stays(file, tmp_path):
    out = tmp_path / "a.jsonl"

    def judge(url):
        return ReplyJudge(Endpoint("m", EndpointSettings((url,), retries=0)), batch=4)

    with serving(lambda body, n: said("A") if n <= 30 else failed(500, "down")) as server:
        with pytest.raises(InputError, match=r"down; \d+ of 40 annotations"):
            run(file, out, judge(server.url))
        kept = len(read_annotations(out))
    assert 0 < kept < 40
    with serving(lambda body, n: said("A")) as server:
        report = run(file, out, judge(server.url))
        assert report.new_annotations == 40 - kept
        # Nothing of what is in the file is asked again: two questions for each new one at most.
        assert len(server.requests) <= 2 * (40 - kept)
    assert report.preferences == {"first": 0, "second": 0, "tie": 40}


def test_malformed_replies_are_counted(file, tmp_path):
    judge = ReplyJudge(CannedWriter(lambda chat, seed: "A" if len(chat) > 1 else "eh"))
    report = run(file, tmp_path / "a.jsonl", judge)
    assert report.malformed_replies == 80


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[3])
from collect_fakes import SCORE
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.rater import Rating

class Slow:
    name, settings, batch = "counting", {}, 4
    asked = 0
    def rate(self, comparisons, objective):
        # The end comes after the test's signal, however late that is.
        self.asked += len(comparisons)
        time.sleep(0.1 if self.asked < 36 else 60)
        return [Rating("first") for _ in comparisons]

annotate(sys.argv[1], sys.argv[2], SCORE, Slow(),
         settings=ComparisonSettings(count=40, seed=0, shares=(0.5, 0.25, 0.25)))
"""


def test_kill_9_in_the_middle_loses_and_doubles_nothing(file, tmp_path):
    out = tmp_path / "a.jsonl"
    command = [sys.executable, "-c", SLOW, str(file), str(out), str(Path(__file__).parents[1] / "collect")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while (not out.exists() or out.stat().st_size < 5000) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    before = len(read_annotations(out, drop_cut_off_line=True))
    assert 0 < before < 40
    rater = CountingRater()
    run(file, out, rater)
    assert len(rater.asked) == 40 - before
    run(file, tmp_path / "undisturbed.jsonl", CountingRater())
    assert out.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_two_raters_on_the_same_comparisons_agree_as_far_as_their_noise(file, tmp_path):
    run(file, tmp_path / "a.jsonl")
    run(file, tmp_path / "b.jsonl", make_oracle(file, flip=0.5))
    a, b = (read_annotations(tmp_path / f"{n}.jsonl") for n in "ab")
    b = [type(x)(x.comparison, x.objective, "noisy", x.preference) for x in b]
    assert agreement(a, a).all.kappa == 1.0
    assert agreement(a, b).without_ties.kappa < 0.6


# --- people ---------------------------------------------------------------------------------------
