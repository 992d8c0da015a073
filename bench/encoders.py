"""The encoders by torch and by OpenVINO, in turn, on contents that lie ready: the sample's pictures and its texts."""

import contextlib
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.measure import Report, interleaved, ratio, show
from features.encoder import Encoder
from features.modality import Backend, ModalityConfig, Precision
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.process import set_up
from pipeline.sample import write_sample

BATCH, BATCHES, ROUNDS = 32, 4, 5
COLUMNS = ("title", "categories", "description")
KINDS: tuple[tuple[Backend, Precision], ...] = (
    ("torch", "float32"),
    ("openvino", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "bfloat16"),
)
BARS = {"image": (2.5, 5.0), "text": (1.2, 2.0)}
"""How many times as fast as torch in float32 OpenVINO must be, in float32 and in bfloat16."""


def main() -> None:
    """Measure pictures, then texts."""
    set_up()
    report = Report("encoders by torch and by OpenVINO, contents ready")
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), num_items=BATCH * BATCHES + 40, num_users=20, seed=0)
        _measure(report, "image", ModalityConfig(encoder="efficientnet-lite0", device="cpu"), _pictures(Path(folder)))
        text = ModalityConfig(encoder="all-minilm-l6-v2", columns=COLUMNS, device="cpu")
        _measure(report, "text", text, _texts(Path(folder)))
    report.finish()


def _pictures(folder: Path) -> list[Any]:
    return [file.read_bytes() for file in sorted((folder / "images").iterdir())]


def _texts(folder: Path) -> list[Any]:
    rows = pl.read_parquet(folder / "items.parquet").select(COLUMNS).rows()
    return sorted((" ".join(str(cell) for cell in row if cell) for row in rows), key=len)


def _measure(report: Report, kind: str, config: ModalityConfig, contents: Sequence[Any]) -> None:
    settings = [ModalityConfig(**{**vars(config), "backend": backend, "precision": how}) for backend, how in KINDS]
    encoders = [find_encoder(kind, one).load() for one in settings]
    batches = _batches(encoders[0], contents)
    taken = interleaved([partial(_encode, encoder, batches) for encoder in encoders], ROUNDS)
    vectors = [_encode(encoder, batches) for encoder in encoders]
    count, torchs = sum(map(len, batches)), taken[0]
    for (backend, how), times, found in zip(KINDS, taken, vectors, strict=True):
        speed = f"{ratio(torchs, times):.2f} x torch's speed, best {count / min(times):.0f} a second"
        cosine = f"least cosine to torch's vectors {_cosines(found, vectors[0]).min():.6f}"
        report.row(f"{kind}, {backend}, {how}", show(times), f"{count} contents; {speed}; {cosine}")
    for place, least in zip((1, 3), BARS[kind], strict=True):
        gain = ratio(torchs, taken[place])
        report.bar(f"{kind} encoder, {KINDS[place][1]}: at least {least} x torch eager", f"{gain:.2f} x", gain >= least)


def _batches(encoder: Encoder, contents: Sequence[Any]) -> list[list[Any]]:
    ready: list[Any] = []
    for content in contents:
        with contextlib.suppress(UnreadableError):  # a few of the sample's are broken, as in real catalogues
            ready.append(encoder.prepare(content))
    return [ready[start : start + BATCH] for start in range(0, BATCH * BATCHES, BATCH)]


def _encode(encoder: Encoder, batches: Sequence[Sequence[Any]]) -> np.ndarray:
    return np.concatenate([encoder.encode(batch) for batch in batches])


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


if __name__ == "__main__":
    main()
