# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tests of the HLS accelerator: its operators, whole frames in C-simulation, and the hls4ml plug-in."""
