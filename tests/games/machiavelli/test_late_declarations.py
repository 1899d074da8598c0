"""Nodes of MACHIAVELLI's tree that are nothing but declarations below the head."""

from __future__ import annotations

from pluralign.games.choicescript.compile.story import compile_scenes
from pluralign.games.machiavelli.files import Metadata, Source, TreeNode
from pluralign.games.machiavelli.game import MachiavelliGame, MachiavelliStory
from pluralign.games.machiavelli.nodes import annotate_lines, nodes_of_lines

LATE = """\
*title Late
Here.
*choice
  #On.
    *goto on
*label on
*create b 1
Then ${b}.
*finish
"""


def test_play_passes_a_node_that_is_a_late_declaration() -> None:
    lines = {"startup_0": range(5), "startup_5": (5,), "startup_6": (6,), "startup_7": range(7, 9)}
    tree = {name: TreeNode("startup", "OTHER", tuple(of)) for name, of in lines.items()}
    line_annotations, nodes = annotate_lines(nodes_of_lines(tree, {"startup": LATE.count("\n") + 1}), {})
    story, problems = compile_scenes("late", {"startup": LATE}, "late", line_annotations)
    assert story is not None
    source = Source({"startup": LATE}, ("startup",), "Late", "")
    game = MachiavelliGame(
        MachiavelliStory.make(story, tuple(problems), source, Metadata({}, {}), {}, nodes, compatible=False)
    )
    game.choose(0)
    assert game.passed == ("startup_0", "startup_6", "startup_7")
    assert game.text == "Then 1."
