import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, CannedWriter, HashPolicy, TowerGame, failed, said, serving

from pluralign.collect.chooser import Choice, PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.number_chooser import NumberChooser, endpoint_chooser
from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, UniformPolicy
from pluralign.core.records import read_header, read_trajectories
from pluralign.lm.endpoint_settings import EndpointSettings


def run(out, policy=None, *, chooser=None, **changed):
    settings = {"episodes": 20, "seed": 3, "objectives": [SCORE, HONESTY], "batch": 4, "progress": False}
    return collect(
        TowerGame, chooser or PolicyChooser(policy or HashPolicy()), out, **{**settings, **changed}
    )


def test_file_holds_what_was_played(tmp_path):
    out = tmp_path / "new" / "t.jsonl"
    report = run(out)
    expected = list(roll_out(TowerGame, HashPolicy(), episodes=20, seed=3, objectives=[SCORE, HONESTY]))
    assert read_trajectories(out) == expected
    assert report.episodes == report.new_episodes == report.terminated == 20
    assert report.steps == sum(len(t.steps) for t in expected)
    assert report.mean_returns["score"] == pytest.approx(sum(t.returns()["score"] for t in expected) / 20)
    assert report.as_json()["malformed_replies"] == 0
    header = read_header(out, "trajectories")
    assert (header["story"], header["policy"], header["seed"]) == ("tower", "hash", 3)


def test_cut_anywhere_and_continued_it_is_the_same_file(tmp_path):
    out = tmp_path / "t.jsonl"
    run(out)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    middle = len(b"".join(lines[: len(lines) // 2]))
    for size in (0, 5, len(lines[0]) - 1, len(lines[0]), middle - 1, middle, middle + 7, len(whole) - 1):
        out.write_bytes(whole[:size])
        report = run(out, batch=7)
        assert out.read_bytes() == whole
        assert report.episodes == 20
        assert report.new_episodes <= 20
    assert run(out).new_episodes == 0
    assert out.read_bytes() == whole


def test_more_episodes_can_be_added(tmp_path):
    run(tmp_path / "a.jsonl", episodes=30)
    run(tmp_path / "b.jsonl", episodes=10)
    assert run(tmp_path / "b.jsonl", episodes=30).new_episodes == 20
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"seed": 4}, "seed"),
        ({"objectives": [SCORE]}, "objectives"),
        ({"max_steps": 9}, "max_steps"),
        ({"policy": UniformPolicy()}, "policy"),
        ({"chooser": PolicyChooser(HashPolicy(), greedy=True)}, "settings"),
    ],
)
def test_a_file_made_otherwise_is_refused_and_kept(tmp_path, changed, field):
    out = tmp_path / "t.jsonl"
    run(out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=rf"t\.jsonl:1, field '{field}': was started with"):
        run(out, **changed)
    assert out.read_bytes() == before


def test_episodes_of_a_story_that_was_changed_since_are_not_continued(tmp_path):
    class Harsher(TowerGame):
        def choose(self, action):
            counts = super().choose(action)
            return {**counts, "violations.deception": 9.0} if self.decision is None else counts

    out = tmp_path / "t.jsonl"
    run(out, episodes=10)
    with pytest.raises(InputError, match="field 'play': was started with"):
        collect(Harsher, PolicyChooser(HashPolicy()), out, episodes=20, seed=3, objectives=[SCORE, HONESTY])


def test_a_game_that_never_plays_twice_alike_is_continued(tmp_path):
    numbers = iter(range(10**9))

    class Unseeded(TowerGame):
        def choose(self, action):
            return {**super().choose(action), "violations.deception": float(next(numbers))}

    def run(episodes):
        return collect(
            Unseeded, PolicyChooser(HashPolicy()), tmp_path / "t.jsonl", episodes=episodes, seed=3,
            objectives=[SCORE, HONESTY],
        )  # fmt: skip

    assert run(5).new_episodes == 5
    assert run(8).new_episodes == 3


def test_a_file_of_an_earlier_version_is_continued(tmp_path):
    run(tmp_path / "whole.jsonl", episodes=20)
    run(out := tmp_path / "t.jsonl", episodes=10)
    first, rest = out.read_text().split("\n", 1)
    header = json.loads(first)
    del header["play"]
    out.write_text(f"{json.dumps(header)}\n{rest}")
    assert run(out, episodes=20).new_episodes == 10
    assert read_trajectories(out) == read_trajectories(tmp_path / "whole.jsonl")


def test_another_prompt_is_refused(tmp_path):
    writer = CannedWriter(lambda chat, seed: "1")
    run(tmp_path / "t.jsonl", chooser=NumberChooser(writer))
    mine = tmp_path / "mine.txt"
    mine.write_text("$situation $options")
    with pytest.raises(InputError, match="field 'settings'"):
        run(tmp_path / "t.jsonl", chooser=NumberChooser(writer, prompt=mine))


@pytest.mark.parametrize("text", ["my notes", "my notes\n", '{"pluralign": "pairs", "version": 1}\n', "[]\n"])
def test_files_of_another_kind_are_left_alone(tmp_path, text):
    out = tmp_path / "t.jsonl"
    out.write_text(text)
    with pytest.raises(InputError, match=r"t\.jsonl"):
        run(out)
    assert out.read_text() == text


def test_no_episodes():
    with pytest.raises(InputError, match="episodes"):
        run(Path("unused.jsonl"), episodes=0)


def test_malformed_replies_are_counted_over_all_runs(tmp_path):
    # The first reply to every question is malformed, and those on the ground floor always are.
    writer = CannedWriter(
        lambda chat, seed: "1" if len(chat) > 1 and "Floor 0" not in chat[0]["content"] else "eh"
    )
    out = tmp_path / "t.jsonl"
    run(out, chooser=NumberChooser(writer, re_asks=1), episodes=5)
    report = run(out, chooser=NumberChooser(writer, re_asks=1), episodes=10)
    steps = [s for t in read_trajectories(out) for s in t.steps if len(s.decision.options) > 1]
    ground = sum("Floor 0" in s.decision.prompt for s in steps)
    assert report.random_actions == ground > 0
    assert report.malformed_replies == len(steps) + ground
    assert report.re_asks == len(steps)


def test_what_a_dead_endpoint_gave_stays(tmp_path):
    out = tmp_path / "t.jsonl"
    with serving(lambda body, n: said("1") if n <= 20 else failed(500, "down")) as server:
        with pytest.raises(InputError, match=r"down; \d+ of 20 episodes are in .*t\.jsonl"):
            run(out, chooser=endpoint_chooser("m", EndpointSettings((server.url,), retries=0)), batch=2)
        kept = [t.id for t in read_trajectories(out)]
        assert 0 < len(kept) < 20
    with serving(lambda body, n: said("1")) as server:
        report = run(out, chooser=endpoint_chooser("m", EndpointSettings((server.url,))), batch=2)
    assert report.new_episodes == 20 - len(kept)
    assert [t.id for t in read_trajectories(out)] == [f"openai:m-3-{i}" for i in range(20)]


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[2])
from collect_fakes import SCORE, HONESTY, HashPolicy, TowerGame
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect

class SlowGame(TowerGame):
    def choose(self, action):
        time.sleep(0.005)
        return super().choose(action)

collect(SlowGame, PolicyChooser(HashPolicy()), sys.argv[1], episodes=300, seed=3,
        objectives=[SCORE, HONESTY], batch=5, progress=True)
"""


def test_kill_9_in_the_middle_loses_and_doubles_nothing(tmp_path):
    out = tmp_path / "t.jsonl"
    command = [sys.executable, "-c", SLOW, str(out), str(Path(__file__).parent)]
    for enough in (3_000, 20_000):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while (not out.exists() or out.stat().st_size < enough) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    before = len(read_trajectories(out, drop_cut_off_line=True))
    assert 0 < before < 300
    report = run(out, episodes=300)
    assert report.new_episodes == 300 - before
    run(tmp_path / "undisturbed.jsonl", episodes=300)
    assert out.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_values_of_numpy_are_written_as_json_has_them(tmp_path):
    class Own:
        name, settings = "own", {"rate": np.float32(0.5), "layers": np.arange(2)}

        def choose(self, decisions, seeds):
            return [Choice(np.argmin([0.0, 1.0]), {"log_prob": np.float32(-1)}) for _ in decisions]

    given = {"episodes": np.int64(2), "seed": np.int64(3), "objectives": [SCORE], "progress": False}
    found = collect(TowerGame, Own(), tmp_path / "t.jsonl", **given)
    assert found.episodes == 2
    steps = [step for one in read_trajectories(tmp_path / "t.jsonl") for step in one.steps]
    assert {step.info["log_prob"] for step in steps if len(step.decision.options) > 1} == {-1.0}
    header = read_header(tmp_path / "t.jsonl", "trajectories")
    assert (header["seed"], header["settings"]) == (3, {"rate": 0.5, "layers": [0, 1]})
    # The same values again continue the file.
    assert collect(TowerGame, Own(), tmp_path / "t.jsonl", **{**given, "episodes": 3}).new_episodes == 1
    Own.settings = {"path": tmp_path}
    with pytest.raises(InputError, match="expected what JSON can have, found"):
        collect(TowerGame, Own(), tmp_path / "other.jsonl", **given)
    assert not (tmp_path / "other.jsonl").exists()
    with pytest.raises(InputError, match="field 'chooser': expected a chooser, such as PolicyChooser"):
        collect(TowerGame, UniformPolicy(), tmp_path / "other.jsonl", **given)
