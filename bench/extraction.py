"""Image extraction through the real pipeline beside the bare encoder, and extraction again of the same catalogue."""

import contextlib
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bench.measure import GIB, Report, peak_memory, seconds, show
from features.encoder import Encoder
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.columns import IMAGE_PATH, ITEM_ID
from pipeline.config.config import compose
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.sample import write_sample
from pipeline.stages.extract import extract_features
from pipeline.stages.results import Extraction
from pipeline.terminal import Terminal

NUM_ITEMS = 1500
BATCH = 32


@dataclass(frozen=True)
class Measured:
    """Seconds, and what they were spent on."""

    pictures: int
    """Encoded the first time."""
    first: float
    again: list[float]
    bare: float
    """Of the loaded encoder alone, for as many pictures that lie ready."""
    calls_again: int
    """Of the encoder, for the unchanged catalogue."""
    peak: int
    """Largest resident size of the process by the end of the first extraction, bytes."""

    @property
    def share(self) -> float:
        """Of the bare encoder's throughput."""
        return self.bare / self.first


def main() -> None:
    """Measure on the sample catalogue's rendered pictures."""
    report = Report(f"extraction, {NUM_ITEMS} rendered pictures, EfficientNet-Lite0")
    found = measure("cpu", NUM_ITEMS, BATCH)
    gain = found.first / statistics.median(found.again)
    rate = f"{found.pictures / found.first:.1f} pictures/s with hashing, decoding and writing"
    report.row("first", f"{found.first:.1f} s", f"{rate}; peak {found.peak / GIB:.2f} GiB")
    bare_rate = f"{found.pictures / found.bare:.1f} pictures/s"
    report.row("floor: the bare encoder on ready tensors", f"{found.bare:.1f} s", bare_rate)
    report.row("again, unchanged", show(found.again), f"{gain:.0f} x as fast; encoder calls {found.calls_again}")
    report.bar(
        "image extraction: at least 90 % of the bare encoder's throughput", f"{found.share:.0%}", found.share >= 0.9
    )
    text = "second extraction of an unchanged catalogue: no encoder call, at least 50 x faster"
    report.bar(text, f"{gain:.0f} x, {found.calls_again} calls", gain >= 50 and not found.calls_again)
    report.finish()


def measure(device: str, num_items: int, batch_size: int, copies: int = 1) -> Measured:
    """Extract the pictures of a sample catalogue, extract again, and encode as many ready ones.

    The process has encoded a batch before: its start does not count, the encoder's loading counts as extraction's.

    Args:
        copies: of every picture, each another content, for a device that encodes faster than pictures are rendered.

    Raises `ImportError` where a library of the encoder is absent.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = _sample_run(Path(folder), device, num_items, batch_size, copies)
        done: list[Extraction] = []

        def whole() -> None:
            done.append(extract_features(run).modalities["image"])

        first = seconds(whole)
        pictures, peak = done[0].encoded, peak_memory()
        again = [seconds(whole) for _ in range(3)]
        bare = _bare_encoder(run, pictures, batch_size)
    return Measured(pictures, first, again, bare, done[-1].encoder_calls, peak)


def _sample_run(folder: Path, device: str, num_items: int, batch_size: int, copies: int) -> Run:
    image = {"encoder": "efficientnet-lite0", "batch_size": batch_size, "device": device}
    document = {
        "catalogue": {"items": "items.parquet", "interactions": ["interactions.parquet"]},
        "modalities": {"image": image},
        "store": {"root": str(folder / "store")},
    }
    config = compose(document, base=folder)
    encoder = find_encoder("image", config.modalities["image"]).load()  # or fail before the pictures are rendered
    write_sample(folder, num_items=num_items, num_users=50, seed=0)
    _multiply(folder, copies)
    encoder.encode([next(_prepared(folder / "images", encoder))] * batch_size)  # what a process does once is done now
    return Run("bench", config, config.open_store(), Reporter(Terminal(quiet=True)))


def _multiply(folder: Path, copies: int) -> None:
    """Give every item's picture `copies - 1` items more, whose pictures differ in a byte behind the picture's end."""
    items, pictures = pl.read_parquet(folder / "items.parquet"), list((folder / "images").iterdir())
    frames = [items]
    for copy in range(1, copies):
        path = pl.col(IMAGE_PATH).str.replace(r"\.(\w+)$", f"-{copy}.${{1}}")
        frames.append(items.with_columns(pl.col(ITEM_ID) + f"-{copy}", path))
        for picture in pictures:
            target = picture.with_stem(f"{picture.stem}-{copy}")
            target.write_bytes(picture.read_bytes() + bytes([copy]))
    pl.concat(frames).write_parquet(folder / "items.parquet")


def _bare_encoder(run: Run, number: int, batch_size: int) -> float:
    """Seconds of the encoder alone for as many pictures, the same prepared ones again and again."""
    encoder = find_encoder("image", run.config.modalities["image"]).load()
    ready = list(itertools.islice(_prepared(run.config.base / "images", encoder), 2 * batch_size))
    batches = [ready[:batch_size], ready[batch_size:]]
    encoder.encode(batches[0])
    taken = 0.0
    for turn in range(number // batch_size):
        batch = batches[turn % 2]
        taken += seconds(lambda batch=batch: encoder.encode(batch))  # type: ignore[misc]
    return taken * number / (number // batch_size * batch_size)


def _prepared(folder: Path, encoder: Encoder) -> Iterator[Any]:
    """The pictures that can be read; a few of the sample's are broken, as in real catalogues."""
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(UnreadableError):
            yield encoder.prepare(path.read_bytes())


if __name__ == "__main__":
    main()
