# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Networks that M3ViT's tables 1 and 2 compare with, as modules to count multiply-accumulates on, never to train here.

Each is the architecture of its own paper with the backbone, heads and sizes of the multi-task survey whose protocol
M3ViT follows (arXiv 2004.13379, section 4): a ResNet dilated to an output stride of 8 and DeepLabV3 heads. The
convolutional parts are torchvision's; batch norms, activations and sums are no multiply-accumulates and not counted.
"""
