# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""m3vit: train, export, verify and report Mixture-of-Experts Vision Transformers on an FPGA accelerator."""

__version__ = "0.1.0"
