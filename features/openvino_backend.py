"""Networks compiled by OpenVINO for a CPU, faster than torch's eager kernels (docs/decisions/0042-openvino.md)."""

import atexit
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from features.encoder import num_threads
from features.errors import FeatureError
from features.modality import Precision

_HINT = {"auto": "f32", "float32": "f32", "bfloat16": "bf16"}
_MODEL = "model.xml"
_MADE_BY = ("openvino", "torch", "timm", "torchvision", "sentence-transformers", "transformers")


class NotConvertedError(FeatureError):
    """A network that OpenVINO cannot take over; torch can run it."""


def compiled(
    name: str, load: Callable[[], tuple[Any, Sequence[Any]]], shapes: Sequence[Sequence[int]], precision: Precision
) -> Callable[..., np.ndarray]:
    """A network as a function from arrays to its one output, float32.

    Args:
        name: of the network, which changes with its weights; it is converted once on a machine (`cache_folder`).
        load: gives the torch module and tensors that it is traced with, on the CPU.
        shapes: of its inputs, -1 where a size may change from call to call.
        precision: of the computation.

    Raises `NotConvertedError` where it cannot be converted.
    """
    openvino = _load()
    folder = _folder(name)
    if not (folder / _MODEL).exists():
        folder = _convert(openvino, load, folder)
    core = openvino.Core()
    model = core.read_model(folder / _MODEL)
    model.reshape(dict(zip(model.inputs, map(list, shapes), strict=True)))
    settings = {"INFERENCE_NUM_THREADS": num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    ready = core.compile_model(model, "CPU", settings | {"INFERENCE_PRECISION_HINT": _HINT[precision]})

    def run(*arrays: np.ndarray) -> np.ndarray:
        return np.array(ready(list(arrays))[0], dtype=np.float32)  # a copy: the next call writes to the same place

    return run


def cache_folder() -> Path:
    """Where converted networks are kept: `microrec/openvino` under XDG_CACHE_HOME, or `~/.cache`; may be deleted."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "microrec" / "openvino"


def _folder(name: str) -> Path:
    """Of one network; another version of a library that takes part in the conversion has another."""
    made_by = [name, *(f"{library} {version(library)}" for library in _MADE_BY)]
    return cache_folder() / hashlib.sha256("\n".join(made_by).encode()).hexdigest()[:24]


def _convert(openvino: Any, load: Callable[[], tuple[Any, Sequence[Any]]], folder: Path) -> Path:
    """Write the converted network, whole or not at all, and say where it is."""
    import torch

    network, example = load()
    try:
        with torch.inference_mode(False), torch.no_grad(), _quietly():
            model = _converted(network.eval(), tuple(example))
    except MemoryError:
        raise
    except Exception as error:  # tracing runs the network's own code, and conversion whatever it meets
        reason = " ".join(str(error).split())[:200]
        raise NotConvertedError(f"OpenVINO cannot convert it ({type(error).__name__}: {reason})") from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError:  # a home that may not be written to: each process converts for itself
        beside = folder = Path(tempfile.mkdtemp(prefix="microrec-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    openvino.save_model(model, beside / _MODEL, compress_to_fp16=False)
    if beside != folder:
        try:
            beside.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(beside)
    return folder


@contextmanager
def _quietly() -> Iterator[None]:
    """Torch's tracer and the traced networks give warnings that do not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _converted(network: Any, example: tuple[Any, ...]) -> Any:
    """The front end itself: `openvino.convert_model` reports each conversion to its makers."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(network, example_input=example)  # must outlive the conversion
    return front_end.convert(front_end.load(decoder))


def _load() -> Any:
    with _without_telemetry():
        import openvino
    return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """With `openvino_telemetry`, OpenVINO reports each import to its makers and leaves a file in the home folder."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # importing it fails, which OpenVINO expects
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def in_batches(run: Callable[[np.ndarray], np.ndarray], size: int) -> Callable[[np.ndarray], np.ndarray]:
    """A network of one batch size, for any number of inputs: the last is repeated where there are fewer."""

    def encode(inputs_B: np.ndarray) -> np.ndarray:
        vectors = []
        for start in range(0, len(inputs_B), size):
            batch = inputs_B[start : start + size]
            filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
            vectors.append(run(filled)[: len(batch)])
        return np.concatenate(vectors)

    return encode
