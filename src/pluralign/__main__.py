"""``python -m pluralign``: the command line, for the interpreter that runs it."""

from pluralign.cli import main

main()
