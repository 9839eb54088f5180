# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The hls4ml plug-in: backend "M3ViT" for Vitis HLS, found through the entry point `hls4ml.backends`.

docs/hls4ml.md shows how to use it; `m3vit.hls.plugin.modules` holds what a PyTorch model is built from.
"""

from collections.abc import Callable
from typing import Any

BACKEND = "M3ViT"


def register(register_backend: Callable[[str, Any], None], register_writer: Callable[[str, Any], None]) -> None:
    """Add backend and writer to hls4ml's; what it calls when it loads its plug-ins. A second call does nothing."""
    from hls4ml.backends import get_available_backends

    from m3vit.hls.plugin.backend import M3ViTBackend
    from m3vit.hls.plugin.layers import register_layers
    from m3vit.hls.plugin.writer import M3ViTWriter

    if BACKEND.lower() in get_available_backends():
        return
    register_layers()
    register_writer(BACKEND, M3ViTWriter)
    register_backend(BACKEND, M3ViTBackend)
