"""The web page with the sliders: one response, restricted to its own script and its own server."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse, Response

_SCRIPTS = ("base", "dials", "wish", "interview", "front", "share", "card", "chat", "story", "main")
"""Parts of the page's script, in their order; they share one scope."""
_INLINE = {
    "script-src": re.compile(r"<script>(.*?)</script>", re.DOTALL),
    "style-src": re.compile(r"<style>(.*?)</style>", re.DOTALL),
}


def page_response() -> Response:
    """The page, with its Content-Security-Policy header."""
    page, policy = _page()
    return HTMLResponse(page, headers={"content-security-policy": policy, "x-frame-options": "DENY"})


@cache
def _page() -> tuple[str, str]:
    page = _text("page.html").replace("{{ css }}", _text("page.css"))
    page = page.replace("{{ js }}", "\n".join(_text(f"{name}.js") for name in _SCRIPTS))
    rules = ["default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'"]
    rules += ["form-action 'none'", "frame-ancestors 'none'"]
    for name, pattern in _INLINE.items():
        digests = [hashlib.sha256(text.encode()).digest() for text in pattern.findall(page)]
        rules.append(f"{name} " + " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests))
    return page, "; ".join(rules)


def _text(name: str) -> str:
    return files("pluralign.serve").joinpath("web", name).read_text(encoding="utf-8")
