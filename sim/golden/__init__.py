# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Golden integer operators: pure NumPy functions, one per hardware operator. They define what is right."""
