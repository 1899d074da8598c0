"""Collection of trajectories: policies and models play games.

`train_drrn` and `DRRNPolicy` (torch) are in `pluralign.collect.drrn_training` and `pluralign.options.drrn`;
endpoints and local language models as players are in `.number_chooser`.
"""

from pluralign.collect.chooser import Choice, Chooser, PolicyChooser
from pluralign.collect.collector import CollectionReport, collect
from pluralign.collect.roll_out import play, roll_out

__all__ = ["Choice", "Chooser", "CollectionReport", "PolicyChooser", "collect", "play", "roll_out"]
