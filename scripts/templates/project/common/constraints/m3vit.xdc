# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# No constraint is missing here:
# - The only clock is pl_clk0; the PS IP brings its create_clock.
# - The only asynchronous reset is synchronised by proc_sys_reset, whose IP brings its own false path.
# - The design has no pins of its own: memory, registers and interrupt reach the PS inside the chip.
