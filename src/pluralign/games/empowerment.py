"""How much a player's choice decides about what comes next: empowerment of the states of a game."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pluralign.games.state_graph import END, StateGraph


def empowerment(graph: StateGraph) -> npt.NDArray[np.float64]:
    """Empowerment of one step, max I(action; next state | state) over policies (Klyubin et al. 2005), in
    nats, for each state; 0 at the end.

    Where the game draws no random numbers, it is the logarithm of the number of distinct next states: at most
    that of the number of options, and 0 where all options lead to one state. All endings are one state.

    Args:
        graph: All states of a game (`games.state_graph.explore`).
    """
    found = np.zeros(len(graph.states))
    for state in range(len(graph.states)):
        if state != END:
            following = graph.target[graph.first[state] : graph.first[state + 1]]
            found[state] = np.log(len(np.unique(following)))
    return found


def idle_states(graph: StateGraph) -> npt.NDArray[np.int64]:
    """Numbers of the states with two or more options that all lead to one state. What the steps count may
    still differ.

    Args:
        graph: All states of a game.
    """
    options = np.diff(graph.first)
    return np.flatnonzero((options > 1) & (empowerment(graph) == 0))
