"""Memory and processors that this process has and may use."""

import resource
from pathlib import Path

MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
CGROUP = Path("/sys/fs/cgroup")
NOFILE, OPEN_FILES = resource.RLIMIT_NOFILE, 65_536


def free_memory_bytes() -> int | None:
    """What is free here: of the machine, or of the container's allowance where that is less; None where unknown."""
    machine = _line(MEMINFO, "MemAvailable")
    limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    container = None if limit is None or used is None else max(0, limit - used + _cached_files())
    known = [size for size in (machine, container) if size is not None]
    return min(known) if known else None


def processor_limit() -> int | None:
    """Processors that the container's allowance of time comes to, rounded up; None without one or where unknown.

    Where a limit lets a process run on every processor for a share of the time, as Kubernetes' and Docker's do, nothing
    else tells it: a thread for every processor spends the share early and then all of them stand still.
    """
    allowance = CGROUP / "cpu.max"  # microseconds, and the period that they are for; or `max`
    time, period = allowance.read_text(encoding="ascii").split() if allowance.exists() else ("max", "1")
    return None if time == "max" else max(1, -(-int(time) // int(period)))


def resident_memory_bytes() -> int:
    """Resident size of this process; 0 where unknown."""
    return _line(STATUS, "VmRSS") or 0


def open_more_files() -> int:
    """Let this process have up to `OPEN_FILES` files open, or as many as it may; return how many that is."""
    soft, hard = (OPEN_FILES if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(NOFILE))
    if soft < min(hard, OPEN_FILES):
        soft = min(hard, OPEN_FILES)
        resource.setrlimit(NOFILE, (soft, resource.getrlimit(NOFILE)[1]))
    return soft


def _cached_files() -> int:
    """Bytes of files that the container is charged for and that the kernel gives back when memory is wanted."""
    lines = (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _line(file: Path, name: str) -> int | None:
    """A value in kB out of a file of lines `name: value kB`, as bytes."""
    if not file.exists():
        return None
    found = [line.split()[1] for line in file.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None


def _number(file: Path) -> int | None:
    """A whole number that is all a file holds; None where it says `max` or is not there."""
    text = file.read_text(encoding="ascii").strip() if file.exists() else ""
    return int(text) if text.isdigit() else None
