# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""PyTorch M3ViT, its data, training and quantisation; the config tree."""
