"""Names of floating-point types. Command lines name them as well, so this module needs no torch."""

from typing import Literal

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]
"""Names of the floating-point types that models compute in."""
LoadIn = Literal["4bit"]
"""Formats of quantised weights: NF4 with double quantisation, by the package bitsandbytes."""
