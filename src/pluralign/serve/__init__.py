"""Mixtures of policies behind OpenAI's API, and the page with the dials."""

from pluralign.serve.app import Service, make_app
from pluralign.serve.settings import Access, Limits

__all__ = ["Access", "Limits", "Service", "make_app"]
