"""The web page with the sliders: one file, restricted to its own script and its own server."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse, Response

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
    page = files("pluralign.serve").joinpath("page.html").read_text(encoding="utf-8")
    rules = ["default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'"]
    rules += ["form-action 'none'", "frame-ancestors 'none'"]
    for name, pattern in _INLINE.items():
        digests = [hashlib.sha256(text.encode()).digest() for text in pattern.findall(page)]
        rules.append(f"{name} " + " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests))
    return page, "; ".join(rules)
