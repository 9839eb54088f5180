# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Tests of the RTL: unit benches, faults of whole frames, lint, generated files."""
