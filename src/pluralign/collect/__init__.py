"""Collection of trajectories: policies and models play games.

`train_drrn` and `DRRNPolicy` (torch) are in `pluralign.collect.drrn_training` and `pluralign.options.drrn`;
endpoints and local language models as players are in `.number_chooser`.
"""
