"""What a process of this program sets in its own environment, once, before the libraries that read it are loaded.

Only an entry point calls this: the command line, and the tests.
"""

import os

from pipeline.resources import processor_limit

MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Standard output belongs to the result, and MLflow has no other switch for these."""
TORCH = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}
"""Weights that torchvision, timm or sentence-transformers fetch are tensors. A file with anything else is refused:
unpickling it would run its code."""
SPINS = "3000"
"""Turns for which libgomp's threads wait for the next operation before they sleep. Its default, 300,000, takes
milliseconds of a core that other threads could use, even the one that is waited for (docs/decisions/0010-speed.md)."""


def set_up() -> None:
    """Tell OpenMP, MLflow and torch what they cannot see; what the environment says already stays."""
    for name, value in (MLFLOW | TORCH).items():
        os.environ.setdefault(name, value)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    limit = processor_limit()
    if limit is not None and limit < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(limit))
