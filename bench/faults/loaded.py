"""What a night loads, loaded: the process that `child.fork` forks has this and nothing else.

It must have no threads of its own, so what begins some when it is loaded is left to the fork: Polars, OpenVINO.
"""

import contextlib
import json
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

from pipeline import process

LIST = "FAULTS_MODULES"
"""Environment variable that names a file with the modules which a night has loaded, as `write_list` writes it."""
LEFT_OUT = frozenset({"__main__", "__mp_main__", "bench", "multiprocessing", "nncf", "openvino", "pipeline", "polars"})


def write_list(file: Path) -> None:
    """Write down what this process has loaded, in its order."""
    names = [name for name in sys.modules if name.partition(".")[0].lstrip("_") not in LEFT_OUT]
    file.write_text(json.dumps(names), encoding="utf-8")


def _load() -> None:
    process.set_up()
    names = json.loads(Path(os.environ[LIST]).read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules:
                with contextlib.suppress(Exception):  # made at run time, or under another name
                    import_module(name)


if LIST in os.environ:
    _load()
