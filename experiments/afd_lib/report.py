from pathlib import Path


def write_report(out: Path, results: Path) -> None: ...
