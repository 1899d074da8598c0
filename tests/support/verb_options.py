"""The options of a verb, read from its function."""

import dataclasses
import importlib
import inspect
import types
import typing

from pluralign.cli import VERBS


@dataclasses.dataclass(frozen=True)
class Option:
    """An option as users write it; positional arguments have no dashes."""

    name: str
    hint: object
    many: bool = False
    positional: bool = False


def verb_options(verb):
    """All options of a verb, those of its settings included."""
    module, _, name = VERBS[verb][0].partition(":")
    function = getattr(importlib.import_module(f"pluralign.cli.{module}"), name)
    if name == "make_verb":
        function = function(verb.removeprefix("learn "))
    hints = typing.get_type_hints(function, include_extras=True)
    return [
        option
        for name in inspect.signature(function).parameters
        for option in _options(name.replace("_", "-"), hints[name], "")
    ]


def _options(name, hint, prefix):
    marks = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *marks = typing.get_args(hint)
    flat = any(getattr(mark, "name", None) == "" for mark in marks)
    if dataclasses.is_dataclass(hint):
        inner = prefix if flat else f"{prefix}{name}."
        for field, own in typing.get_type_hints(hint, include_extras=True).items():
            if field in {f.name for f in dataclasses.fields(hint) if f.init}:
                yield from _options(field.replace("_", "-"), own, inner)
        return
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (one for one in typing.get_args(hint) if one is not type(None))
    many = typing.get_origin(hint) is tuple
    if many:
        hint = typing.get_args(hint)[0]
    # tyro marks positional arguments by an object of its own.
    positional = any("Positional" in repr(mark) or "positional" in repr(mark).lower() for mark in marks)
    yield Option(name if positional else f"--{prefix}{name}", hint, many, positional)
