"""Mixtures of policies inside vLLM: a plugin for ``vllm serve``, and an engine of ``pluralign serve``."""
