"""What an encoder is: named before it is loaded, loaded only when there is something to encode."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features.errors import FeatureError
from features.modality import ModalityConfig
from features.text_limits import TextLimit

ContentKind = Literal["image", "text"]
OPENVINO = "openvino"
VERSION = 1
"""Version of the encoding as written here; raise it when the same weights would give other vectors."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """An encoder that has not been loaded yet: enough to name its features and to know what it takes."""

    name: str
    """As configured."""
    content: ContentKind
    revision: str
    """What identifies the weights: a digest of their file, or the name of a published version."""
    load: Callable[[], "Encoder"] = field(repr=False)
    """Loads the weights; leaves the environment as it is. Raises `FeatureError` where they cannot be loaded."""
    text_limit: TextLimit | None = None
    """How much of a text is read, where that is known beforehand."""

    @property
    def by_openvino(self) -> bool:
        """Whether OpenVINO runs it."""
        return OPENVINO in self.name.split("+")

    @property
    def key(self) -> str:
        """Folder name of its features; changes with everything the vectors depend on."""
        digest = hashlib.sha256(f"{VERSION}\n{self.name}\n{self.revision}".encode()).hexdigest()[:12]
        readable = "".join(character if character.isalnum() or character in "-._" else "-" for character in self.name)
        return f"{readable.strip('.')[-60:]}-{digest}"


class Encoder:
    """Turns a batch of contents into vectors."""

    def __init__(
        self,
        dim: int,
        prepare: Callable[[Any], Any],
        encode: Callable[[Sequence[Any]], np.ndarray],
        device: str,
        *,
        prepare_in_processes: bool = False,
    ) -> None:
        """Join the two halves of an encoder.

        Args:
            dim: D, length of a vector.
            prepare: turns one content (a text, or a picture's bytes) into what `encode` takes; runs in worker
                threads, or in processes, and raises `UnreadableError` for a picture that cannot be read.
            encode: turns prepared contents into float32 (B, D).
            device: where `encode` computes, as torch names it.
            prepare_in_processes: `prepare` can be pickled, what it gives is small, and it loads no heavy library.
        """
        self.dim, self.prepare, self._encode, self.device = dim, prepare, encode, device
        self.prepare_in_processes = prepare_in_processes

    @property
    def preparers(self) -> int:
        """Workers for `prepare`: those of `encode` where it computes on a CPU, in turn with it; else one a core."""
        return num_threads() if self.device == "cpu" else len(os.sched_getaffinity(0))

    def encode(self, prepared: Sequence[Any]) -> np.ndarray:
        """Encode a batch, float32 (B, D).

        Raises `FeatureError` for a vector that is not finite.
        """
        vectors = np.asarray(self._encode(prepared), dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise FeatureError("the encoder gave NaN or infinite values; try device = 'cpu' for this modality")
        return vectors


def file_sha256(path: Path) -> str:
    """A file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def num_threads() -> int:
    """Processors that an encoder may use, as OpenMP is told."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else len(os.sched_getaffinity(0))


def named(name: str, config: ModalityConfig) -> str:
    """An encoder's name with the settings that change its vectors: features of two kinds must not be mixed.

    Torch's own name has no suffix, as before there were other backends.
    """
    kinds = {
        config.long_texts: config.long_texts != "cut",
        OPENVINO: config.backend == OPENVINO,
        config.precision: config.precision == "bfloat16",
    }
    return "+".join([name, *(kind for kind, chosen in kinds.items() if chosen)])


def file_digest(path: Path) -> str:
    """First 16 hex digits of a file's sha256."""
    return file_sha256(path)[:16]


def require_weights(name: str, files: Mapping[Path, str]) -> None:
    """Raise `FeatureError` where a file of packaged weights has another sha256 than the one that this code names."""
    for path, expected in files.items():
        found = file_sha256(path)
        if found != expected:
            raise FeatureError(
                f"{name}: {path} has sha256 {found}, expected {expected}; "
                "it is not the file that was published: install the package anew"
            )


def resolve_device(name: str) -> str:
    """Turn `auto` into `cuda` where there is one, else `cpu`."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
