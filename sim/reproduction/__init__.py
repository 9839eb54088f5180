# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The papers' tables with this project's figures beside them: what `m3vit reproduce` prints. See docs/reproduce.md."""
