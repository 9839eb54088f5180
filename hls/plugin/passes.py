# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Passes of the backend's own flow, which runs before hls4ml's."""

from typing import Any

from hls4ml.model.optimizer import ModelOptimizerPass

from m3vit.hls.plugin.fuse import fuse_program, place_moe


class ReplaceLayers(ModelOptimizerPass):
    """See m3vit.hls.plugin.replace."""

    def __init__(self) -> None:
        self.name = "replace_layers"

    def transform(self, model: Any) -> bool:
        """Replace; the import waits until here because it needs torch."""
        from m3vit.hls.plugin.replace import replace_layers

        replace_layers(model)
        return True


class FuseProgram(ModelOptimizerPass):
    """See m3vit.hls.plugin.fuse."""

    def __init__(self) -> None:
        self.name = "fuse_program"

    def transform(self, model: Any) -> bool:
        """Fuse whole programs, then MoE blocks."""
        fuse_program(model)
        place_moe(model)
        return True


PASSES = (ReplaceLayers, FuseProgram)
