"""Wrong values of options: one line that names the option or file, exit code 2, and nothing written."""

import json
from pathlib import Path
from typing import get_args

import pytest
from json_lines import write
from verb_options import VERBS, verb_options

import pluralign as pl

RIGHT = {int: "4", float: "0.5", bool: "True", Path: "missing", str: "missing"}
WRONG = {int: ("x", "1.5", "nan", ""), float: ("x", "nan", ""), bool: ("maybe", ""), Path: ("",)}


# The first one does not go with other values here.
CHOSEN = {"--config.backup": "expectile"}


def _right(option):
    value = CHOSEN.get(option.name) or RIGHT.get(option.hint) or str(get_args(option.hint)[0])
    # Some take three numbers.
    return [value] * (3 if option.many else 1)


def _command(options, wrong, value):
    words = [word for o in options if o.positional for word in ([value] if o is wrong else _right(o))]
    for option in options:
        if not option.positional:
            own = [value, *_right(option)[1:]] if option is wrong else _right(option)
            words += [option.name, *own]
    return words


@pytest.mark.parametrize("verb", VERBS)
def test_values_of_another_type_are_refused_by_the_options_name(verb, refuses):
    options = verb_options(verb)
    for option in options:
        for value in WRONG.get(option.hint, () if option.hint is str else ("nonsense",)):
            line = refuses(*verb.split(), *_command(options, option, value))
            assert option.positional or option.name in line, (option, value, line)
            assert f"pluralign {verb} --help" in line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that cannot be used, a folder, and data that can."""
    place = tmp_path_factory.mktemp("files")
    (place / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9", "completion": "x"}\n')
    (place / "empty.jsonl").write_bytes(b"")
    (place / "cut.jsonl").write_text('{"prompt": "a", "compl')
    (place / "list.jsonl").write_text("[1, 2]\n")
    (place / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (place / "types.jsonl").write_text('{"prompt": 3, "completion": [1], "chosen": {}, "rejected": 4}\n')
    (place / "file").write_text("x")
    for name, card in (("folder", None), ("list-card", "[]"), ("bytes-card", b"\xff{")):
        (place / name).mkdir()
        if card is not None:
            (place / name / "card.json").write_bytes(card if isinstance(card, bytes) else card.encode())
    (place / "model").mkdir()
    (place / "model" / "config.json").write_text("[]")
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(12)]
    write(place / "pairs.jsonl", rows)
    write(
        place / "huge.jsonl",
        [{"prompt": "Say:", "completion": f" {i}", "reward": i} for i in (-1e308, 1e308)],
    )
    side = {"label": "x", "weights": {"a": 1}, "folder": "tiny-random", "more": 1}
    (place / "sides.json").write_text(json.dumps({"fixed": [side]}))
    write(place / "scored.jsonl", [{"prompt": "Say:", "completion": f" {i}", "reward": i} for i in range(4)])
    (place / "other").mkdir()
    (place / "other" / "report.json").write_text("{}")
    heads = pl.Training(layers=0, bf16=False)
    pl.fit_reward(pl.load_pairs(rows), model="tiny-random", training=heads, out=place / "reward")
    (place / "twin").symlink_to(place / "reward")
    write(place / "answers.jsonl", [{"prompt": f"Say {i}:", "completion": " a"} for i in range(4)])
    return place


DATA = (
    ("learn", "dpo", "--model", "tiny-random", "--data"),
    ("learn", "sft", "--model", "tiny-random", "--data"),
    ("learn", "bc", "--model", "tiny-random", "--data"),
    ("learn", "cpl", "--model", "tiny-random", "--data"),
    ("learn", "avril", "--model", "tiny-random", "--data"),
    ("learn", "ava-p", "--model", "tiny-random", "--data"),
    ("learn", "ava-d", "--model", "tiny-random", "--data"),
    ("learn", "bt-variance", "--model", "tiny-random", "--data"),
    ("learn", "spin", "--model", "tiny-random", "--data"),
    ("learn", "adversarial", "--model", "tiny-random", "--data"),
    ("learn", "value", "--model", "tiny-random", "--data"),
    ("learn", "modpo", "--model", "tiny-random", "--margins", "b=x", "--weights", "a=0.5,b=0.5", "--data"),
    ("learn", "ensemble", "--members", "{files}/reward", "{files}/twin", "--data"),
    (
        "sweep",
        "--model",
        "tiny-random",
        "--policies",
        "a=tiny-random",
        "b=tiny-random",
        "--rewards",
        "a={files}/reward",
        "b={files}/reward",
        "--prompts",
    ),
    ("generate", "--model", "tiny-random", "--prompts"),
    ("annotate", "--objective", "score", "--rater", "oracle"),
    ("pair", "--objective", "score"),
    ("evaluate", "golden", "--golden", "missing", "--base", "x", "--demonstrations", "x", "--sources"),
)
UNUSABLE = (
    "missing.jsonl", "folder", "file", "file/below", "latin.jsonl", "empty.jsonl", "cut.jsonl", "list.jsonl",
    "deep.jsonl", "types.jsonl",
)  # fmt: skip


@pytest.mark.parametrize("verb", DATA, ids=lambda verb: " ".join(verb[:2]))
def test_data_that_cannot_be_read(verb, files, tmp_path, refuses):
    for name in UNUSABLE:
        given = f"a={files / name}" if verb[-1] == "--sources" else files / name
        words = [word.format(files=files) for word in verb]
        line = refuses(*words, given, "--out", tmp_path / "out")
        assert name.split("/")[0] in line, (name, line)
        assert not list(tmp_path.iterdir()), name


@pytest.mark.parametrize("name", ["missing", "folder", "file", "list-card", "bytes-card", "model"])
def test_folders_that_hold_nothing_of_the_kind(name, files, tmp_path, refuses):
    place, out = files / name, ("--out", tmp_path / "new" / "out")
    answers = files / "answers.jsonl"
    for command in (
        ("score", "--model", place, "--data", answers),
        ("score", "--model", f"closed-form:{place}", "--data", answers),
        ("generate", "--model", place, "--prompts", answers),
        ("export", place),
        ("learn", "dpo", "--model", place, "--data", files / "pairs.jsonl"),
        ("choose", "--completions", answers, "--rewards", f"a={place}", "--weights", "a=1"),
        ("targets", "--completions", answers, "--rewards", f"a={place}", "--at-least", "a=+1sd"),
        ("evaluate", "golden", "--golden", place, "--base", answers, "--demonstrations", answers,
         "--sources", f"a={answers}"),
    ):  # fmt: skip
        assert refuses(*command, *out)
        assert not list(tmp_path.iterdir()), command


STARTS = {
    "value": "learn value --data {files}/scored.jsonl --model tiny-random",
    "adversarial": "learn adversarial --data {files}/answers.jsonl --model tiny-random",
    "on_pairs": "--data {files}/pairs.jsonl --model tiny-random",
    "modpo": "learn modpo --data {files}/pairs.jsonl --model tiny-random",
    "bc": "learn bc --data {files}/t.jsonl --model tiny-random",
    "ensemble": "learn ensemble --data {files}/answers.jsonl --members",
    "on_story": "sweep --policies score=random harm_avoidance=random --story {story}",
    "on_prompts": "sweep --policies a=tiny-random b=tiny-random --prompts {files}/answers.jsonl "
    "--model tiny-random --max-new-tokens 2 --rewards a={files}/reward b={files}/reward",
}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("collect --story {story} --policy random --temperature -1", "'temperature': must be at least 0"),
        ("collect --story {story} --policy random --temperature inf", "'temperature': must be at least 0"),
        ("collect --story {story} --policy random --re-asks -1", "'re_asks': must be at least 0"),
        ("collect --story {story} --policy random --prompt p.txt", "'prompt': is only for models that reply"),
        ("collect --story {story} --policy openai:", "'model': expected openai:MODEL"),
        ("generate --prompts {answers} --model tiny-random --limit -1", "'limit': must be at least 1"),
        ("generate --prompts {answers} --model tiny-random --base x", "'base': tiny-random is not"),
        ("learn dpo --data {pairs} --model tiny-random --training.layers 0", "'layers': 0 trains heads"),
        ("learn dpo --data {pairs} --model tiny-random --seed -1", "'seed'"),
        ("score --model closed-form: --data {answers}", "'reward': expected a folder, closed-form:DIR"),
        ("evaluate golden --golden x --base {answers} --demonstrations {answers} --sources a={answers} "
         "--seed -1", "'seed': must be at least 0"),
        ("evaluate separation --rewards a=x --sources a={answers} b={answers} --seed -1", "'seed'"),
        ("evaluate best-of-n --completions {answers} --rewards a=x --golden x --seed -1", "'seed'"),
        ("sweep --policies a=x b=y --story {story} --seed -1", "'seed': must be at least 0"),
        ("sweep --policies a=x b=y --story {story} --steps 1", "'steps': must be 2 or more"),
        ("score --model classifier:x --base y --data {answers}", "'model': a classifier has no base model"),
        ("evaluate win-rate --a {answers} --b {answers} --rater reward:x --objective o --prompt p.txt",
         "'prompt': only judges have a prompt"),
        ("{value} --bins 10", "'bins': requires --loss hl-gauss"),
        ("{value} --loss hl-gauss --bins 7", "'bins': must be at least 8"),
        ("{value} --lam 2", "'lam': must be at most 1"),
        ("{value} --training.layers 99", "'layers': must be from 0"),
        ("learn value --data {files}/huge.jsonl --model tiny-random", "'reward': too large"),
        ("{adversarial} --alpha 0.3", "'alpha': requires --divergence alpha"),
        ("{adversarial} --divergence alpha --alpha inf", "'alpha': must be finite"),
        ("{adversarial} --vllm.memory 0.5", "'memory': is for mode colocate"),
        ("{adversarial} --config.temperature 0", "'temperature': must be at least 1e-06"),
        ("learn bt-variance {on_pairs} --config.margin inf", "'margin': must be finite"),
        ("learn bt-variance {on_pairs} --config.margin 1e308", "'margin': must be at most 1e+06"),
        ("learn bt-variance {on_pairs} --seed 4294967296", "'seed': must be at most 4294967295"),
        ("learn ipo {on_pairs} --config.tau inf", "'tau': must be above 0 and finite"),
        ("learn ava-d {on_pairs} --config.cer False", "'cer': is for preferences (ava-p)"),
        ("learn ava-d {on_pairs} --config.cer-weight 3", "'cer_weight': is for preferences (ava-p)"),
        ("learn ava-p {on_pairs} --config.tqr.alpha -1", "'alpha': must be at least 1e-09"),
        ("learn ava-p {on_pairs} --config.tqr.attention-width 0", "'attention_width': must be at least 1"),
        ("{modpo} --weights pairs=0.5,b=0.5 --margins b={files}/file", "file: is a file; expected the"),
        ("{modpo} --weights pairs=1 --margins b={files}/reward", "'weights': no weight for 'b'"),
        ("{ensemble} {files}/reward {files}/reward/", "'members': expected at least two different members"),
        ("{ensemble} {files}/reward {files}/twin --limit 0", "'limit': must be at least 1"),
        ("{on_story} --power inf", "'power': must be finite"),
        ("{on_story} --episodes 1", "'episodes': must be at least 2"),
        ("{on_story} --samples 3", "'samples': requires --prompts"),
        ("{on_prompts} --episodes 3", "'episodes': requires --story"),
        ("{on_prompts} --features x", "'features': requires --story"),
        ("{on_prompts} --limit 1", "'prompts': expected at least two prompts, found 1"),
        ("{on_prompts} --template=", "must be one of dialogue, chat"),
        ("{on_prompts} --sides {files}/sides.json", "sides.json:1, field 'more': expected only label"),
        ("{on_prompts} --rewards a={files}/reward b={files}/folder", "folder: holds no finished training"),
        ("{on_prompts} --rewards a={files}/reward b=endpoint:x", "x: cannot be used as an endpoint"),
        ("demo --story {story} --seed -1", "'seed': must be at least 0"),
        ("demo --story missing", "no story 'missing'"),
    ],
)  # fmt: skip
def test_values_out_of_range(command, message, story, files, tmp_path, refuses):
    places = {"story": story, "answers": files / "answers.jsonl", "pairs": files / "pairs.jsonl"}
    started = {name: words.format(files=files, story=story) for name, words in STARTS.items()}
    words = command.format(**places, **started, files=files).split()
    assert message in refuses(*words, "--out", tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_no_output(story, files, run, refuses):
    trajectories = ("--episodes", 2, "--out", files / "t.jsonl")
    assert run("collect", "--story", story, "--policy", "random", *trajectories) == 0
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    for start in ("value", "adversarial", "on_story", "on_prompts", "ensemble", "bc"):
        words = STARTS[start].format(files=files, story=story).split()
        words += [f"{files}/reward", f"{files}/twin"] * (start == "ensemble")
        for out in (files / "other", files / "reward", files / "pairs.jsonl"):
            assert str(out) in refuses(*words, "--out", out)
    assert before == {path: path.stat().st_mtime_ns for path in files.rglob("*")}


def test_training_that_diverges_writes_no_model(files, tmp_path, refuses):
    command = ("learn", "sft", "--model", "tiny-random", "--data", files / "answers.jsonl")
    for _ in range(2):
        line = refuses(*command, "--training.learning-rate", "1e39", "--out", tmp_path / "out")
        assert "training diverged" in line
        assert not (tmp_path / "out" / "card.json").exists()


def test_values_out_of_range_of_verbs_without_a_file(story, files, tmp_path, refuses):
    assert "'seed': must be at least 0" in refuses(
        "games", "play", story, "--policy", "random", "--seed", "-1"
    )
    assert "cannot listen" in refuses("serve", "--policies", "a=tiny-random", "--host", "a" * 300)
    assert "null character" in refuses("games", "show", "a\0")
    command = ("evaluate", "play", "--story", story, "--policy", "tiny-random", "--features", files / "file")
    assert "cannot be written" in refuses(*command, "--episodes", 1)
    trajectories = tmp_path / "t.jsonl"
    trajectories.write_text(json.dumps({"x": 1}) + "\n")
    assert "t.jsonl" in refuses("agree", trajectories, trajectories, "--seed", "-1")


def test_an_input_is_not_replaced_by_the_output(files, tmp_path, refuses):
    own = tmp_path / "pairs.jsonl"
    own.write_bytes((files / "pairs.jsonl").read_bytes())
    (tmp_path / "link").symlink_to(own)
    for command in (("score", "--model", "tiny-random", "--data", own), ("pair", own, "--objective", "o")):
        for out in (own, tmp_path / "link"):
            assert "is an input as well" in refuses(*command, "--out", out)
    read = ("evaluate", "reward", "--model", "tiny-random", "--data", own)
    named = ("evaluate", "harms", f"random={own}")
    learn = ("learn", "dpo", "--model", "tiny-random", "--data", own, "--out", tmp_path / "out")
    for command in (read, named, learn):
        assert "is an input as well" in refuses(*command, "--json", own)
    assert own.read_bytes() == (files / "pairs.jsonl").read_bytes()
    score = ("score", "--model", "tiny-random", "--data", own, "--out", tmp_path / "a.jsonl")
    assert "is the output as well" in refuses(*score, "--json", tmp_path / "a.jsonl")


def test_texts_that_are_no_paths_are_not_taken_for_the_output(files, tmp_path, refuses, monkeypatch):
    out = tmp_path / "ratings.jsonl"
    out.write_text("")
    pairs = files / "pairs.jsonl"
    command = ("evaluate", "win-rate", "--a", pairs, "--b", pairs, "--rater", "dice", "--objective", "o")
    assert "unknown rater 'dice'" in refuses(*command, "--description", "x" * 300, "--out", out)
    # Options without a value are not the working directory.
    monkeypatch.chdir(tmp_path)
    assert "none.csv" in refuses("weights", "--choices", "none.csv", "--values", "a=b", "b=c", "--out", ".")
