"""The handler of each command. Further commands of the language join `HANDLERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pluralign.games.choicescript.compile.commands import flow, text, variables
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.language.parser import Node

HANDLERS: Mapping[str, Callable[[SceneBuilder, Node], None]] = {
    "abort": flow.ending,
    "achieve": text.achieve,
    "allow_reuse": text.set_reuse,
    "bug": flow.bug,
    "comment": text.comment,
    "config": variables.set_variable,
    "delay_ending": flow.ending,
    "delete": variables.delete,
    "delete_array": variables.delete_array,
    "disable_reuse": text.set_reuse,
    "end_trial": flow.ending,
    "ending": flow.ending,
    "finish": flow.finish,
    "finish_advertisement": flow.finish,
    "gosub": flow.gosub,
    "gosub_scene": flow.gosub_scene,
    "goto": flow.goto,
    "goto_random_scene": flow.goto_random_scene,
    "goto_scene": flow.goto_scene,
    "gotoref": flow.goto_reference,
    "hide_reuse": text.set_reuse,
    "input_number": variables.input_number,
    "input_text": variables.input_text,
    "label": flow.label,
    "line_break": text.line_break,
    "link": text.link,
    "page_break": text.page_break,
    "page_break_advertisement": text.page_break,
    "params": variables.params,
    "print": text.print_value,
    "purchase": flow.purchase,
    "purchase_discount": flow.purchase,
    "rand": variables.randomise,
    "redirect_scene": flow.goto_scene,
    "reset": variables.reset,
    "restart": flow.ending,
    "restore_checkpoint": flow.restore_checkpoint,
    "return": flow.leave_subroutine,
    "save_checkpoint": flow.save_checkpoint,
    "script": text.script,
    "set": variables.set_variable,
    "setref": variables.set_reference,
    "stat_chart": text.stat_chart,
    "temp": variables.make_temporary,
    "temp_array": variables.make_temporary_array,
    **dict.fromkeys(
        ("delay_break", "image", "share_this_game", "show_password", "subscribe", "text_image"),
        text.end_paragraph,
    ),
    **dict.fromkeys(
        (
            *("advertisement", "ai", "check_achievements", "check_purchase", "check_registration"),
            *("feedback", "ifid", "kindle_image", "kindle_product"),
            *("kindle_search", "link_button", "login", "looplimit", "more_games"),
            *("print_discount", "product", "restore_game", "restore_purchases", "save_game"),
            *("sound", "timer"),
            *("track_event", "youtube"),
        ),
        text.pass_over,
    ),
}
"""Handlers by command. ``*if``, ``*choice`` and similar commands open blocks: see `blocks`."""
