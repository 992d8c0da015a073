"""The C library's allocator during an epoch on a CPU: what one step frees, the next one takes again.

Left alone, glibc maps every tensor above 32 MiB anew and unmaps it when it is freed, and the kernel clears its pages
at every step: at 150,000 items a quarter of an epoch (docs/decisions/0010-speed.md). Kept blocks lie in one heap, with
gaps between them, which `model.memory` counts.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Parameters of mallopt(3), as <malloc.h> numbers them.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
NEVER = -1
MAPPINGS = 65_536  # glibc's own limit of both
FREE_AT_TOP = 64 << 20  # bytes; what glibc's threshold has grown to once a block of 32 MiB was freed


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Within, freed blocks stay with this process, whatever their size; at the end they go back to the system.

    On another device than a CPU, and without glibc, nothing is changed.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, MAPPINGS)
        libc.mallopt(M_TRIM_THRESHOLD, FREE_AT_TOP)
        libc.malloc_trim(0)
