"""``python -m pluralign.cli``, as 0.1.0 had it; ``python -m pluralign`` is the same."""

from pluralign.cli import main

main()
