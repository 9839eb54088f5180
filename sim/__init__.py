# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Golden integer model, Pathway format, Verilator runner, host driver and performance figures."""
