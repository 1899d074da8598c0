"""Names of the criteria by which pairs are selected."""

from typing import Literal

Criterion = Literal["difficulty", "diversity", "dependability"]
