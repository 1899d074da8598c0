"""``python -m pluralign``: the command line, for the interpreter that runs it."""

from .cli import main

main()
