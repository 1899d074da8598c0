import sys
from pathlib import Path

# Tests are collected in importlib mode, which puts no folder on the path.
sys.path.insert(0, str(Path(__file__).parents[1] / "collect"))
