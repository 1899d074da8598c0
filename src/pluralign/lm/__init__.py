"""Language models: the trunk, its adapters, the token forest, attention, generation."""

from __future__ import annotations

import logging

# On some processors bitsandbytes, which PEFT imports where it is installed, advises to install a kernel that
# `lm.quantized` would not use.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: "gemm_4bit_forward" not in record.getMessage()
)
