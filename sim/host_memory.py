# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Memory that host and accelerator share, from whatever allocates it: PYNQ or a simulation."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from m3vit.sim.host_image import AcceleratorError, Bytes

ALIGNMENT = 1024
"""The accelerator addresses memory in stripes of this many bytes."""
MAX_ADDRESS = 1 << 40


class Buffer(Protocol):
    """Physically contiguous memory that NumPy can index; `pynq.Buffer` is one."""

    @property
    def physical_address(self) -> int:
        """Address of the first byte as the accelerator sees it."""

    def flush(self) -> Any:
        """Make the host's writes visible to the accelerator."""

    def invalidate(self) -> Any:
        """Make the accelerator's writes visible to the host."""

    def freebuffer(self) -> Any:
        """Give the memory back."""


Allocate = Callable[[tuple[int], Any], Any]
"""`allocate(shape, dtype)` returns a NumPy array that is also a `Buffer`; `pynq.allocate` does."""


class Memory:
    """An aligned block inside a larger contiguous buffer."""

    def __init__(self, allocate: Allocate, size: int) -> None:
        self._buffer: Buffer = allocate((size + ALIGNMENT,), np.uint8)
        skip = -self._buffer.physical_address % ALIGNMENT
        self.address = self._buffer.physical_address + skip
        self.data: Bytes = np.asarray(self._buffer)[skip : skip + size]
        if self.address + size > MAX_ADDRESS:
            raise AcceleratorError(f"the buffer at 0x{self.address:X} lies beyond the accelerator's 40-bit addresses")

    def fill(self, data: Bytes) -> None:
        """Copy bytes to the start of the block, visible to the accelerator."""
        self.data[: data.size] = data
        self._buffer.flush()

    def flush(self) -> None:
        """Give the block to the accelerator: no stale line of the host may overwrite it."""
        self._buffer.flush()

    def fetch(self, size: int) -> Bytes:
        """A copy of the first bytes as the accelerator left them."""
        self._buffer.invalidate()
        return self.data[:size].copy()

    def free(self) -> None:
        """Give the memory back."""
        self._buffer.freebuffer()
