# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""HLS C++ executor of the Pathway (hls4ml plug-in)."""
