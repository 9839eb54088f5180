# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Geometry of the figures of the pages, one module each, and numbers in words.

Colours are CSS classes (scripts/templates/report.css), so figures follow light and dark. Bars, maps and heat maps are
HTML boxes that reflow on a phone; the time line and the roofline are SVG.
"""

from m3vit.sim.figures.words import MISSING, number, size

__all__ = ["MISSING", "number", "size"]
