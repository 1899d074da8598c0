"""Mixtures of policies behind OpenAI's API, and the page with the dials."""

from pluralign.serve.app import Service, make_app
from pluralign.serve.deployment import Deployment, open_deployment
from pluralign.serve.settings import Access, Limits

__all__ = ["Access", "Deployment", "Limits", "Service", "make_app", "open_deployment"]
