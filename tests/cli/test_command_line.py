"""The command line itself: help, refusals in one line, interruptions, and what it imports."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path

import pytest

from pluralign import cli
from pluralign.annotate.annotator import ComparisonSettings
from pluralign.cli import VERBS
from pluralign.cli.arguments import in_home_folders
from pluralign.learn.methods import METHODS

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*(?:\.[a-z][\w-]*)*")
PAGES = [ROOT / "README.md", ROOT / "experiments" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, run, capsys):
    assert run(*verb.split(), "--help") == 0
    assert f"pluralign {verb}" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def read_only(command, monkeypatch):
    """Read a command's options as its verb does, without running it."""
    monkeypatch.setattr("pluralign.cli.arguments.require_own_outputs", lambda run, json: sys.exit(0))
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(command, comments=True)[1:])
    assert ended.value.code == 0, command


@pytest.mark.parametrize("verb", VERBS)
def test_examples_in_help_are_commands(verb, monkeypatch):
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(importlib.import_module(f"pluralign.cli.{module}"), name)
    text = inspect.getdoc(function(verb.removeprefix("learn ")) if name == "make_verb" else function) or ""
    examples = re.findall(r"^Examples?: (.*?)(?:\n\n|\Z)", text, re.M | re.S)
    assert examples
    for command in re.findall(r"pluralign .*?(?=\)\"|\s+pluralign |\Z)", "\n".join(examples), re.S):
        read_only(command.replace("\n", " "), monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_can_be_copied(page, monkeypatch, capsys):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    text = "\n".join(block for language, block in blocks if not language).replace("\\\n", " ")
    for command in re.findall(r"^(?:.*?-m |eval \"\$\()?(pluralign .*?)(?:\)\")?$", text, re.M):
        read_only(command, monkeypatch)
    assert not re.search(r"^ +--", text, re.M), "a line before this one lacks its backslash"
    assert not capsys.readouterr().err


@pytest.fixture(scope="module")
def options():
    """Options of every verb, as its help has them."""
    found = {}
    for verb in VERBS:
        with redirect_stdout(io.StringIO()) as told, suppress(SystemExit):
            cli.main([*verb.split(), "--help"])
        found[verb] = set(OPTION.findall(told.getvalue()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_sentences_name_exist(page, options):
    """In the verb that stands before them, if one does, as in `sweep --dial DIR`; otherwise in any verb."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    every = set().union(*options.values())
    for span in (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)):
        words = span.removeprefix("pluralign ")
        verbs = [verb for verb in VERBS if f"{words} ".startswith(f"{verb} ")]
        if verbs:
            named = OPTION.findall(words)
            assert {option for option in named if option not in options[max(verbs, key=len)]} == set(), span
        elif re.fullmatch(r"--(?:[a-z]+\.)+[a-z-]+(?: .*)?", span):
            # An option with a dot is one of the verbs', not one of a script or another program.
            assert OPTION.findall(span)[0] in every, span


def test_help_version_and_unknown_verbs(run, capsys, refuses):
    assert run() == 0
    assert run("--version") == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert "pluralign 0." in out
    assert "unknown verb 'learn ppo'; known: learn dpo, learn ipo" in refuses("learn", "ppo")
    assert "unknown verb 'serv'" in refuses("serv")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("learn", "dpo", "--data", "x", "--out", "y", "--training.batch-size", 0),
         "field 'batch_size': must be at least 1, found 0; see pluralign learn dpo --help"),
        (("agree", "a", "b", "--seed", "one"), "Error parsing --seed: invalid literal for int()"),
        (("agree", "a", "b", "--sed", 1), "Unrecognized options: --sed"),
        (("agree", "a"), "Missing from pluralign agree: PATH"),
        (("agree", "a", "b", "--seed"), "Missing value for argument '--seed'"),
        (("annotate", "t", "--objective", "o", "--rater", "oracle", "--out", "x", "--decide", "agree"),
         "invalid choice 'agree' for argument '--decide'. Expected one of ('agreement', 'mean')"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(arguments, expected, refuses):
    assert expected in refuses(*arguments)


def test_a_tilde_that_the_shell_left_is_the_users_folder(run, tmp_path, monkeypatch):
    """Shells replace it in ``--out ~/x`` only; ``--out=~/x`` made a folder of this name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    played = ["collect", "--story", "salt_ledger", "--policy", "random", "--episodes", "1"]
    assert run(*played, "--out=~/t.jsonl", "--json=~/figures.json") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "t.jsonl"]
    given = partial(print, "~/a", b=("kind=~/b", "~x=1", "one=closed-form:~/c"), c=ComparisonSettings())
    found = in_home_folders(given)
    assert found.args == (f"{tmp_path}/a",)
    paths = f"kind={tmp_path}/b", "~x=1", f"one=closed-form:{tmp_path}/c"
    assert found.keywords == {"b": paths, "c": ComparisonSettings()}


def test_standard_output_is_not_taken_for_a_file(refuses, tmp_path, monkeypatch):
    """A file of the name ``-`` was written."""
    monkeypatch.chdir(tmp_path)
    played = ["collect", "--story", "salt_ledger", "--policy", "random", "--episodes", "1"]
    assert "field 'out': standard output is not taken" in refuses(*played, "--out", "-")
    assert "field 'json': standard output is not taken" in refuses(
        "games", "show", "salt_ledger", "--json", "-"
    )
    assert not list(tmp_path.iterdir())


def test_outputs_that_cannot_be_written_are_refused_before_the_work(refuses, tmp_path):
    """A verb told it at its end, when nothing was left to write its figures to."""
    (tmp_path / "file").write_text("x")
    played = ["collect", "--story", "salt_ledger", "--policy", "random", "--episodes", "1", "--out"]
    assert "is a folder; expected a file" in refuses(*played, tmp_path / "t.jsonl", "--json", tmp_path)
    for out, figures in (("t.jsonl", "file/f.json"), ("file/below/t.jsonl", "f.json")):
        line = refuses(*played, tmp_path / out, "--json", tmp_path / figures)
        assert f"cannot be written: {tmp_path / 'file'} is a file" in line
    assert "outputs are not compressed" in refuses(*played, tmp_path / "t.jsonl.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interruption_says_so(run, monkeypatch, capsys, story, tmp_path):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("pluralign.cli.collect.collect", interrupt)
    assert run("collect", "--story", story, "--policy", "random", "--out", tmp_path / "t") == 130
    assert "the same command continues" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    script = Path(sys.executable).with_name("pluralign")
    command = f"{script} games show salt_ledger | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "The Salt Ledger\n"
    assert ended.stderr == ""


def test_help_needs_no_torch():
    # But that of losses, whose settings are the parameters of functions of tensors.
    verbs = [
        verb
        for verb in VERBS
        if not (method := METHODS.get(verb.removeprefix("learn "))) or not method.is_loss
    ]
    code = f"""
import contextlib, io, sys
from pluralign.cli import main
for verb in {verbs}:
    sys.argv = ["pluralign", *verb.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        main()
    assert told.getvalue(), verb
    assert not {{'torch', 'transformers'}} & set(sys.modules), verb
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_python_m_pluralign_is_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pluralign", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pluralign", run_name="__main__")
    assert not ended.value.code
    assert "usage: pluralign VERB" in capsys.readouterr().out


def _pluralign(*arguments, **options):
    words = [sys.executable, "-m", "pluralign", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, **options)


PLAYED = ("collect", "--story", "salt_ledger", "--policy", "random", "--episodes", "2")


def test_what_the_terminal_cannot_show_is_escaped(tmp_path):
    """It ended verbs after their work, with a trace and without their figures."""
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = _pluralign(*PLAYED, "--out", "é.jsonl", "--json", "f.json", cwd=tmp_path, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(r"wrote \xe9.jsonl")
    assert (tmp_path / "f.json").exists()


def test_a_reader_that_leaves_ends_a_verb_without_success(tmp_path):
    """The exit code was 0, although the figures were not written."""
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "pluralign", *PLAYED, "--out", "t.jsonl", "--json", "f.json"]
    done = subprocess.run(words, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [1, 2])
def test_verbs_run_without_standard_output_or_error(tmp_path, closed):
    line = f'exec "$0" -m pluralign {" ".join(PLAYED)} --out t.jsonl --json f.json {closed}>&-'
    done = subprocess.run(["sh", "-c", line, sys.executable], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "f.json").exists()
