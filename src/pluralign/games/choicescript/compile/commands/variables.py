"""Compilation of the commands that create and change variables."""

from __future__ import annotations

import re

from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.language.expressions import (
    parse,
    parse_assignment,
    parse_assignment_by_name,
    parse_variable,
)
from pluralign.games.choicescript.language.head import array_values, check_name
from pluralign.games.choicescript.language.parser import Node
from pluralign.games.choicescript.language.syntax import Expression, Literal, Reference, Variable
from pluralign.games.choicescript.run.assignments import (
    Assign,
    AssignTo,
    Create,
    Delete,
    DeleteArray,
    Input,
    Params,
    Randomise,
    Reset,
)
from pluralign.games.choicescript.run.instructions import SlotOrSet


def set_variable(scene: SceneBuilder, node: Node) -> None:
    """``*set VARIABLE EXPRESSION``, and ``*config``, which does the same here."""
    variable, value = parse_assignment(node.data)
    _assign(scene, node, variable, value)


def set_reference(scene: SceneBuilder, node: Node) -> None:
    """``*setref NAME EXPRESSION``, with a computed name."""
    variable, value = parse_assignment_by_name(node.data)
    _assign(scene, node, variable, value)


def _assign(scene: SceneBuilder, node: Node, variable: Variable | Reference, value: Expression) -> None:
    scope = scene.scope
    find = scope.finder(variable)
    evaluate, reads = scope.assignment(value), scope.reads(value)
    if isinstance(variable, Reference) or variable.name in scope.deleted:
        reads |= scope.reads(variable)
        if isinstance(variable, Reference):
            reads |= scope.reads(variable.ending)
        scene.emit(AssignTo(node.path, node.line, find, evaluate, scene.place() + 1, reads=reads))
        return
    slot, hidden = scope.own.get(variable.name), scope.story.get(variable.name)
    here = scene.place()
    if slot is None:
        assert hidden is not None
        scene.emit(Create(node.path, node.line, hidden, evaluate, here + 1, reads=reads))
    else:
        scene.emit(Assign(node.path, node.line, slot, evaluate, here + 1, hidden, reads=reads | {slot}))


def make_temporary(scene: SceneBuilder, node: Node) -> None:
    """``*temp VARIABLE [EXPRESSION]``."""
    name, _, source = node.data.partition(" ")
    name = check_name(node, name)
    value = parse(source) if source.strip() else None
    if name in scene.scope.story and value is not None:
        scene.warn(node, f"the temporary variable '{name}' hides one that *create has made")
    evaluate = None if value is None else scene.scope.assignment(value)
    reads = frozenset[SlotOrSet]() if value is None else scene.scope.reads(value)
    here = scene.place()
    scene.emit(Create(node.path, node.line, scene.scope.own[name], evaluate, here + 1, reads=reads))


def make_temporary_array(scene: SceneBuilder, node: Node) -> None:
    """``*temp_array NAME SIZE [VALUE...]``: NAME_1 and so on, and NAME_count."""
    for name, value in array_values(node):
        evaluate = None if value is None else scene.scope.assignment(value)
        reads = frozenset[SlotOrSet]() if value is None else scene.scope.reads(value)
        slot = scene.scope.own[name]
        scene.emit(Create(node.path, node.line, slot, evaluate, scene.place() + 1, reads=reads))


def delete(scene: SceneBuilder, node: Node) -> None:
    """``*delete VARIABLE``."""
    variable = Variable(node.data.lower())
    find, reads = scene.scope.finder(variable), scene.scope.reads(variable)
    scene.emit(Delete(node.path, node.line, find, scene.place() + 1, reads=reads))


def delete_array(scene: SceneBuilder, node: Node) -> None:
    """``*delete_array NAME``."""
    name, scope = node.data.lower(), scene.scope
    scope.finder(Variable(f"{name}_count"))
    own, story = (arrays.get(name, {}) for arrays in (scene.arrays, scene.context.arrays))
    reads = frozenset((*own.values(), *story.values()))
    scene.emit(DeleteArray(node.path, node.line, name, own, story, scene.place() + 1, reads=reads))


def reset(scene: SceneBuilder, node: Node) -> None:
    """``*reset``: all globals to their initial values."""
    context = scene.context
    scene.emit(Reset(node.path, node.line, context.resets, context.reset_parts, scene.place() + 1))


def randomise(scene: SceneBuilder, node: Node) -> None:
    """``*rand VARIABLE LOW HIGH``."""
    variable, values = parse_variable(node.data)
    if len(values) != 2:
        raise node.error(f"expected *rand VARIABLE LOW HIGH, found {node.data!r}")
    low, high = (scene.scope.expression(value) for value in values)
    find, reads = scene.scope.finder(variable), _reads(scene, variable, *values)
    scene.emit(Randomise(node.path, node.line, find, low, high, scene.place() + 1, reads=reads))


def input_text(scene: SceneBuilder, node: Node) -> None:
    """``*input_text VARIABLE [long] [allow_blank]``."""
    words = re.sub(r"(?<!\s)\s+(long|allow_blank)\b", "", node.data)
    variable, values = parse_variable(words)
    if values:
        raise node.error(f"expected *input_text VARIABLE, found {node.data!r}")
    find, reads = scene.scope.finder(variable), _reads(scene, variable)
    scene.constant(node, "\n\n")
    scene.emit(Input(node.path, node.line, _spelled(variable), find, None, scene.place() + 1, reads=reads))


def input_number(scene: SceneBuilder, node: Node) -> None:
    """``*input_number VARIABLE LOW HIGH``."""
    variable, values = parse_variable(node.data)
    if len(values) != 2:
        raise node.error(f"expected *input_number VARIABLE LOW HIGH, found {node.data!r}")
    bounds = (scene.scope.expression(values[0]), scene.scope.expression(values[1]))
    find, reads = scene.scope.finder(variable), _reads(scene, variable, *values)
    scene.constant(node, "\n\n")
    scene.emit(Input(node.path, node.line, _spelled(variable), find, bounds, scene.place() + 1, reads=reads))


def params(scene: SceneBuilder, node: Node) -> None:
    """``*params [NAME...]``."""
    own, slot = scene.scope.own, scene.context.arguments
    names = [check_name(node, name) for name in node.data.split()]
    numbered = tuple(own[f"param_{i + 1}"] for i in range(scene.context.most_arguments))
    assert slot is not None
    taken = tuple(own[name] for name in names)
    take = Params(node.path, node.line, slot, own["param_count"], numbered, taken, scene.place() + 1)
    take.reads = frozenset({slot})
    scene.emit(take)


def _reads(scene: SceneBuilder, variable: Variable | Reference, *values: Expression) -> frozenset[SlotOrSet]:
    return scene.scope.reads(variable, *values)


def _spelled(variable: Variable | Reference) -> str:
    if isinstance(variable, Variable):
        return variable.name
    ending = variable.ending
    return f"{variable.prefix}{ending.value if isinstance(ending, Literal) else '...'}"
