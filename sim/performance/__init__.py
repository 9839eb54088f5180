# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The performance model: cycles of a Pathway's program on a hardware config without running the RTL."""

from m3vit.sim.performance.frame import FrameModel, model_frame
from m3vit.sim.performance.routing import Routing, random_routing

__all__ = ["FrameModel", "Routing", "model_frame", "random_routing"]
