"""An HTTP server for mixtures of policies: OpenAI's API, and a web page with sliders for the weights."""

from pluralign.serve.app import Service, make_app
from pluralign.serve.settings import Access, Limits

__all__ = ["Access", "Limits", "Service", "make_app"]
