"""The command line: one verb for each stage of the pipeline."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

from pluralign.core import InputError
from pluralign.core.files import in_home, write_json
from pluralign.learn.methods import METHODS

_BY_ROW = "learn_texts:make_verb"
_LEARN = {
    "bc": "learn:learn_bc",
    "cpl": "learn:learn_cpl",
    "avril": "learn:learn_avril",
    "q": "learn_q:learn_q",
    "ava-p": "learn_texts:learn_ava_p",
    "ensemble": "ensemble:learn_ensemble",
    "modpo": "learn_modpo:learn_modpo",
    "lipo": "learn_lipo:learn_lipo",
    "mah-dpo": "learn_heads:learn_mah_dpo",
    "adversarial": "learn_adversarial:learn_adversarial",
    "rl": "learn_rl:learn_rl",
    "story-rl": "learn_story_rl:learn_story_rl",
    "value": "learn_value:learn_value",
    "weights": "learn_weights:learn_weights",
}
"""Methods with options of their own; all others are verbs by their rows."""

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "the whole pipeline on one story"),
    "games list": ("games:list_games", "the built-in stories"),
    "games show": ("games:show_game", "a story's facts, objectives and exact Pareto front"),
    "games play": ("games_play:play_game", "play a story yourself, or watch a policy play"),
    "games check": ("games:check_game", "find errors in a story, with file and line"),
    "games import": (
        "games_import:import_games",
        "check a folder of MACHIAVELLI's or Jiminy Cricket's games",
    ),
    "games candidates": (
        "games_candidates:find_candidates",
        "find the commands that a Z-machine story lists in each state",
    ),
    "models locate": (
        "models:locate",
        "record where the base model of a trained folder is, after it was moved",
    ),
    "models check": ("models:check", "what a language model can be used for, and in which way"),
    "models memory": ("models:memory", "how much memory training takes, from the configuration alone"),
    "collect": ("collect:collect_trajectories", "policy x story -> trajectories.jsonl"),
    "trajectories import": (
        "trajectories:import_trajectories",
        "MACHIAVELLI's trajectories -> trajectories.jsonl",
    ),
    "trajectories export": (
        "trajectories:export_trajectories",
        "trajectories of a game of MACHIAVELLI -> its own layout",
    ),
    "annotate": ("annotate:annotate_trajectories", "trajectories x rater -> annotations.jsonl"),
    "agree": ("annotate:agree", "Cohen's kappa between two raters"),
    "pair": ("pair:pair_annotations", "annotations -> pairs.jsonl, leak-free splits"),
    "pair recipe": ("pair:pair_by_recipe", "completions of two sources -> pairs.jsonl (init-sft, ...)"),
    "pair labels": ("pair:pair_by_label", "texts that fit a value or do not -> pairs.jsonl"),
    "pair siblings": ("pair:pair_siblings", "trajectories -> soft pairs of one decision's options"),
    "select": ("select:select", "pairs -> those worth a label, by difficulty, diversity, dependability"),
    **{f"learn {row.name}": (_LEARN.get(row.name, _BY_ROW), row.help) for row in METHODS.values()},
    "score": ("score:score_texts", "reward model x completions -> rewards, of sentences and tokens too"),
    "generate": ("generate:generate_texts", "model or trained policy x prompts -> completions.jsonl"),
    "targets": ("targets:reach_targets", "completions x target mean rewards -> steering weights"),
    "ask": ("ask:ask_questions", "a few questions to a person -> their steering weights, with intervals"),
    "weights": ("weights:infer_weights", "choices or episodes -> the weights behind them, with intervals"),
    "relevance": ("relevance:estimate_relevance", "prompts x objectives -> what is at stake in each prompt"),
    "choose": ("choose:choose_completions", "completions x rewards x weights -> the best one per prompt"),
    "export": ("export:export_folder", "a trained folder -> a model that other tools load"),
    "serve": ("serve:serve", "policies -> OpenAI's API with weights per request, and a page"),
    "vllm": ("vllm:print_command", "policies -> the command of plain vllm serve that mixes them"),
    "sweep": ("sweep:sweep_weights", "policies x weights grid -> report.json, report.html"),
    "calibrate": ("calibrate:calibrate_sweep", "a finished sweep -> a dial that takes wishes for outcomes"),
    "evaluate play": ("evaluate:evaluate_play", "a policy's returns and harms on a story"),
    "evaluate search": (
        "evaluate_search:evaluate_search",
        "values x weights x budgets -> the best plays that searches of a story find",
    ),
    "evaluate harms": ("evaluate_harms:evaluate_harms", "trajectories -> MACHIAVELLI's metrics, normalised"),
    "evaluate story-rewards": (
        "evaluate_story_rewards:evaluate_story_rewards",
        "a reward posterior compared with the story's true rewards",
    ),
    "evaluate reward": ("evaluate_reward:evaluate_reward", "a reward model's accuracy on preference pairs"),
    "evaluate golden": ("evaluate_golden:evaluate_golden", "policies' answers scored by a golden reward"),
    "evaluate best-of-n": ("evaluate_best_of_n:evaluate_best_of_n", "the best of N samples, for every N"),
    "evaluate win-rate": ("evaluate_win_rate:evaluate_win_rate", "win rate between two sets of completions"),
    "evaluate conflict": (
        "evaluate_conflict:evaluate_conflict",
        "samples x rewards -> which prompts make objectives conflict",
    ),
    "evaluate mismatch": (
        "evaluate_mismatch:evaluate_mismatch",
        "runs -> whether their losses and accuracies go with what their policies get",
    ),
    "evaluate prompt-value": (
        "evaluate_prompt_value:evaluate_prompt_value",
        "scored completions -> how well mean rewards of other prompts are predicted",
    ),
    "evaluate progress": (
        "evaluate_progress:evaluate_progress",
        "trajectories x judge -> whether judged progress follows the order, or what passages are worth",
    ),
    "evaluate values": (
        "evaluate_values:evaluate_values",
        "preferences between outcomes in both orders, utilities, cycles, stances and their drift",
    ),
    "evaluate separation": (
        "evaluate_separation:evaluate_separation",
        "separation of sources and styles by rewards",
    ),
}
"""Verb -> function (MODULE:NAME inside this package) and what it does. The module is imported when
its verb is called, so that help needs no torch."""


_WITHOUT_MODEL = {
    "games list", "games show", "games check", "games import", "games candidates", "trajectories import",
    "trajectories export", "agree", "pair", "pair recipe", "pair labels", "pair siblings",
    "evaluate harms",
}  # fmt: skip
"""Verbs without the option --device."""
_DEVICE = "Device of the models: cpu, cuda, cuda:1 or mps; by default the GPU (CUDA) if there is one."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb.

    Exit codes: 0 success, 1 errors found, pairs failed or targets not reached, 2 bad input, 130 interrupted,
    141 ended by a reader that closed the pipe.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    output: Any = sys.stdout
    if hasattr(output, "reconfigure"):
        # A text that the terminal's encoding lacks must not end a verb.
        output.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_run(given))
    except InputError as error:
        _complain(str(error))
        sys.exit(2)
    except BrokenPipeError:
        # The verb has not finished: no success, as for other programs that SIGPIPE ends.
        _discard_output()
        sys.exit(141)
    except KeyboardInterrupt:
        _complain("interrupted; files written so far are kept, and the same command continues")
        sys.exit(130)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}")
        sys.exit(2)


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if given[0] in ("-V", "--version"):
        from pluralign import __version__

        print(f"pluralign {__version__}")
        return 0
    if any("\0" in text for text in given):
        raise InputError("an argument contains a null character")
    for words in (2, 1):
        verb = " ".join(given[:words])
        if verb in VERBS:
            return _call(verb, given[words:])
    group = [verb for verb in VERBS if verb.split()[0] == given[0] and " " in verb]
    if group and (len(given) == 1 or given[1] in ("-h", "--help")):
        print(_usage(group))
        return 0 if len(given) > 1 else 2
    known = ", ".join(group or dict.fromkeys(verb.split()[0] for verb in VERBS))
    raise InputError(f"unknown verb '{' '.join(given[:2] if group else given[:1])}'; known: {known}")


def _call(verb: str, rest: list[str]) -> int:
    module, _, name = VERBS[verb][0].partition(":")
    from pluralign.cli.arguments import in_home_folders, require_own_outputs

    function: Callable[..., Any] = getattr(importlib.import_module(f"pluralign.cli.{module}"), name)
    if VERBS[verb][0] == _BY_ROW:
        function = function(verb.removeprefix("learn "))
    run, json, device = _parse(function, f"pluralign {verb}", rest, verb not in _WITHOUT_MODEL)
    run, json = in_home_folders(run), json and Path(in_home(json))
    require_own_outputs(run, json)
    if device is None:
        result = run()
    else:
        from pluralign.lm.device import use_device

        with use_device(device):
            result = run()
    figures, code = cast("tuple[Any, int]", result) if isinstance(result, tuple) else (result, 0)
    if json is not None:
        write_json(json, figures)
    # A closed pipe can still be handled here; at exit it is too late.
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        _discard_output()
    return code


def _discard_output() -> None:
    """Discard the rest of the output's buffer, since the reader has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(
    function: Callable[..., Any], program: str, rest: list[str], models: bool
) -> tuple[partial[Any], Path | None, str | None]:
    """Parse the arguments into a call; tyro's framed error messages become one line."""
    import tyro

    from pluralign.cli.arguments import value_rules

    def bound(
        *arguments: Any, json: Path | None = None, device: str | None = None, **named: Any
    ) -> tuple[partial[Any], Path | None, str | None]:
        return partial(function, *arguments, **named), json, device

    # tyro reads the verb's own options off these, and further ones where the verb has figures or models.
    types = get_type_hints(function, include_extras=True)
    options = list(inspect.signature(function).parameters.values())
    if types.get("return") is not type(None):
        types["json"] = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help="File for the figures.")]
        options.append(inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=None))
    if models:
        types["device"] = Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help=_DEVICE)]
        options.append(inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default=None))
    described: Any = bound
    described.__doc__, described.__annotations__ = function.__doc__, types
    described.__signature__ = inspect.Signature(options)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), value_rules():
            return tyro.cli(bound, args=rest, prog=program, config=(tyro.conf.FlagConversionOff,))
    except SystemExit as ended:
        if not ended.code:
            raise
        # A title, in plain terminals with a rule below; the message; a rule; hints.
        lines = [line.strip("│╭╰╮╯ ") for line in errors.getvalue().splitlines()[1:]]
        body = dropwhile(lambda line: not line.strip("─-"), lines)
        message = " ".join(takewhile(lambda line: line.strip("─-"), body))
        # Before an error of a dataclass, tyro names the parameter, which users do not know.
        message = re.sub(r"^Error parsing [\w.]+: (?=field ')", "", message)
        raise InputError(f"{message.rstrip('.')}; see {program} --help") from None


def _usage(verbs: Sequence[str] = tuple(VERBS)) -> str:
    lines = [
        "usage: pluralign VERB [options]      (pluralign VERB --help has each verb's options and an example)",
        "",
        *(f"  {verb:28} {VERBS[verb][1]}" for verb in verbs),
    ]
    return "\n".join(lines)


def _complain(message: str) -> None:
    print(f"pluralign: {' '.join(message.split())}", file=sys.stderr)
