"""Stories with a rater's labels of their options."""

from pluralign.games.labelled.file import (
    LabelledFile,
    read_labelled_file,
    same_files,
    write_labelled_file,
)
from pluralign.games.labelled.labels import Labels, read_labels
from pluralign.games.labelled.story import LabelledGame, LabelledStory, label_story

__all__ = [
    "LabelledFile",
    "LabelledGame",
    "LabelledStory",
    "Labels",
    "label_story",
    "read_labelled_file",
    "read_labels",
    "same_files",
    "write_labelled_file",
]
