"""Hooks of the documentation site: pages may link to the experiments' results and to files of the repository.

On a code host these links are relative paths. The site has only `docs/`, so results are added to it, and
other files are linked by the repository's address. README.md and CHANGELOG.md are pages of the site as well;
there they link to its pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = "experiments/results"
_LINK = re.compile(r"\]\(\.\./((?!experiments/results/)[^)]+)\)")
_INCLUDED = re.compile(r'^--8<-- "(\w+\.md)"$', re.MULTILINE)
_TO_DOCS = re.compile(r"\]\((?:https://(?:github|raw\.githubusercontent)\.com/\w+/\w+/(?:blob/)?main/)?docs/")


def on_files(files: Files, config: Any) -> Files:
    """Add the results of the experiments, at the path that they have in the repository."""
    root = Path(config.config_file_path).parent
    for path in sorted((root / RESULTS).iterdir()):
        if path.suffix in (".md", ".svg", ".png"):
            files.append(
                File(f"{RESULTS}/{path.name}", str(root), config.site_dir, config.use_directory_urls)
            )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links out of `docs/` to the results on the site, and to the repository for everything else."""
    root = Path(config.config_file_path).parent
    markdown = _INCLUDED.sub(
        lambda found: _TO_DOCS.sub("](", (root / found[1]).read_text(encoding="utf-8")), markdown
    )
    markdown = markdown.replace(f"](../{RESULTS}/", f"]({RESULTS}/")
    return _LINK.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
