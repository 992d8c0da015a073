"""What torchrun, or this program's own launcher, says about this process in the environment."""

import os


def rank() -> int:
    """Number of this process among those that train together; the first, 0, writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """Processes that train together, 1 where nobody started several."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def num_processes_here() -> int:
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
