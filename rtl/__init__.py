# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""SystemVerilog executor of the Pathway and the generator of its package."""
