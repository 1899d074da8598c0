"""Validation of the part of JSON Schema that requests need; the same schemas are published in OpenAPI."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pluralign.core.jsonl import is_list, is_object, once
from pluralign.serve.errors import Refused

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "string": (str,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}
_NOUNS = {"boolean": "true or false", "string": "a string", "number": "a number", "integer": "an integer"}


def read_json_object(data: bytes) -> dict[str, Any]:
    """Parse a request's body as a JSON object.

    Raises:
        Refused: The body is not a JSON object, repeats a field, or contains NaN or a lone surrogate.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=_no_constant)
        # JSON can encode a lone surrogate, but tokenizers reject it.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise Refused(400, "the body is not valid UTF-8") from error
    except RecursionError as error:
        raise Refused(400, "the body is nested too deeply") from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON ({error!s:.100})") from error
    if not is_object(value):
        raise Refused(400, f"the body must be a JSON object, found {_found(value)}")
    return value


def check(value: Any, schema: Schema, where: str = "") -> None:
    """Validate a JSON value against a schema.

    Args:
        value: Value to validate.
        schema: Schema with ``type``, ``enum``, ``anyOf``, limits of numbers, strings and arrays, ``items``,
            ``properties``, ``required`` and ``additionalProperties``. ``x-unsupported`` marks a known field
            that may only have values without effect; ``x-noun`` is the word for its fields in messages.
        where: Path of the field, for messages.

    Raises:
        Refused: Status 400; the message names the field, what was found and what is expected.
    """
    if "anyOf" in schema:
        fitting = [one for one in schema["anyOf"] if _is_type(value, one)]
        if len(fitting) != 1:
            if not any(_passes(value, one, where) for one in fitting):
                raise _wrong(value, schema, where)
            return
        schema = fitting[0]
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        if schema.get("x-unsupported"):
            raise Refused(
                400, f"'{where}' is not supported; leave it out", param=where, code="unsupported_parameter"
            )
        raise _wrong(value, schema, where)
    if not _is_type(value, schema) or not _within(value, schema):
        raise _wrong(value, schema, where)
    if is_list(value):
        for i, one in enumerate(value):
            check(one, schema.get("items", {}), f"{where}[{i}]")
    elif is_object(value):
        _check_object(value, schema, where)


def _passes(value: Any, schema: Schema, where: str) -> bool:
    try:
        check(value, schema, where)
    except Refused:
        return False
    return True


def _check_object(value: dict[str, Any], schema: Schema, where: str) -> None:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name, one in value.items():
        if name in properties:
            check(one, properties[name], _join(where, name))
            continue
        extra: Any = schema.get("additionalProperties", True)
        if is_object(extra) and extra != {"type": "null"}:
            check(one, extra, _join(where, name[:60]))
            continue
        # Null is allowed in extra fields, so that answers can be sent back as messages.
        if extra is False or (extra is not True and not _is_type(one, extra)):
            noun = schema.get("x-noun", "field")
            known = ", ".join(name for name, own in properties.items() if not own.get("x-unsupported"))
            raise Refused(
                400, f"unknown {noun} {name[:60]!r}; known: {known}", param=_join(where, name[:60]),
                code="unknown_" + noun,
            )  # fmt: skip
        _require_finite(one, _join(where, name[:60]))
    for name in schema.get("required", ()):
        if name not in value:
            raise Refused(400, f"'{_join(where, name)}' is missing", param=_join(where, name))


def _require_finite(value: Any, where: str) -> None:
    """Refuse infinities, which JSON spells as numbers of many digits but answers cannot repeat."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise Refused(400, f"'{where}' has a number that is too large", param=where) from error


def describe(schema: Schema) -> str:
    """Describe in words the values that a schema accepts."""
    if "anyOf" in schema:
        return " or ".join(describe(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(one) for one in schema["enum"] if one is not None)
    names = [name for name in _listed(schema["type"]) if name != "null"]
    if "array" in names:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f"{least} or more" if most is None else f"{least} to {most}"
        return f"an array of {count}, each {describe(schema['items'])}"
    if "object" in names:
        noun = schema.get("x-noun")
        return f"an object of numbers by {noun}" if noun else "an object"
    text = " or ".join(_NOUNS[name] for name in names)
    if "exclusiveMinimum" in schema:
        return f"{text} above {schema['exclusiveMinimum']}, at most {schema['maximum']}"
    if "minimum" in schema:
        return f"{text} from {schema['minimum']} to {schema['maximum']}"
    return "a non-empty string" if schema.get("minLength") else text


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _is_type(value: Any, schema: Schema) -> bool:
    kinds = schema.get("type")
    if kinds is None:
        return True
    for kind in _listed(kinds):
        if kind == "integer":
            if type(value) is int or (isinstance(value, float) and value.is_integer()):
                return True
        elif isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)):
            return True
    return False


def _listed(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _within(value: Any, schema: Schema) -> bool:
    if isinstance(value, str) or is_list(value):
        noun = "Length" if isinstance(value, str) else "Items"
        return schema.get(f"min{noun}", 0) <= len(value) <= schema.get(f"max{noun}", math.inf)
    if is_object(value):
        return len(value) >= schema.get("minProperties", 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        return (
            # Integers are finite, and may be too large to be converted.
            (isinstance(value, int) or math.isfinite(value))
            and low <= value <= high
            and value > schema.get("exclusiveMinimum", -math.inf)
        )
    return True


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _wrong(value: Any, schema: Schema, where: str) -> Refused:
    return Refused(400, f"'{where}' must be {describe(schema)}, found {_found(value)}", param=where)


def _found(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
