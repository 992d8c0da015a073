"""The C library's allocator during an epoch on a CPU: what one step frees, the next one takes again.

Left alone, glibc maps every tensor above 32 MiB anew and unmaps it when it is freed, and the kernel clears its pages
at every step: at 150,000 items a quarter of an epoch (docs/decisions/0010-speed.md). Kept blocks lie in one heap, with
gaps between them, which `model.memory` counts. The settings are those of the whole process: who owns the process passes
`freed_memory_kept` to `Trainer`, which changes nothing by itself.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Parameters of mallopt(3), as <malloc.h> numbers them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
WITHIN = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
AFTERWARDS = {M_MMAP_MAX: 65_536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}
"""glibc's default, and the thresholds in bytes that it comes to by itself once large blocks have been freed."""


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Within, freed blocks stay with this process, whatever their size; at the end they go back to the system.

    glibc cannot be asked for its settings: afterwards they are `AFTERWARDS`, whatever MALLOC_* variables said. On
    another device than a CPU, and without glibc, nothing is changed.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for parameter, value in WITHIN.items():
        libc.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, value in AFTERWARDS.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
