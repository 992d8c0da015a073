"""Image extraction through the real pipeline beside the bare encoder, and extraction again of the same catalogue."""

import statistics
import tempfile
from pathlib import Path

from rich.console import Console

from bench.measure import Report, seconds, show
from features.registry import find_encoder
from pipeline.config import compose
from pipeline.extract import extract
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.sample import write_sample

NUM_ITEMS = 1500
BATCH = 32


def main() -> None:
    """Measure on the sample catalogue's rendered pictures."""
    report = Report(f"extraction, {NUM_ITEMS} rendered pictures, EfficientNet-Lite0")
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), num_items=NUM_ITEMS, num_users=50, seed=0)
        image = {"encoder": "efficientnet-lite0", "batch_size": BATCH, "device": "cpu"}
        document = {
            "catalogue": {"items": "items.parquet", "interactions": ["interactions.parquet"]},
            "modalities": {"image": image},
            "store": {"root": str(Path(folder) / "store")},
        }
        config = compose(document, base=Path(folder))
        run = Run("bench", config, config.open_store(), Reporter(Console(quiet=True)))
        summary = {}

        def whole() -> None:
            summary.update(extract(run)["image"])

        first = seconds(whole)
        encoded = summary["encoded"]
        again = [seconds(whole) for _ in range(3)]
        bare = _bare_encoder(run, encoded)
    gain, share = first / statistics.median(again), bare / first
    report.row("first", f"{first:.1f} s", f"{encoded / first:.1f} pictures/s with hashing, decoding and writing")
    report.row("floor: the bare encoder on ready tensors", f"{bare:.1f} s", f"{encoded / bare:.1f} pictures/s")
    report.row("again, unchanged", show(again), f"{gain:.0f} x as fast; encoder calls {summary['encoder_calls']}")
    report.bar("image extraction: at least 90 % of the bare encoder's throughput", f"{share:.0%}", share >= 0.9)
    text = "second extraction of an unchanged catalogue: no encoder call, at least 50 x faster"
    report.bar(text, f"{gain:.0f} x, {summary['encoder_calls']} calls", gain >= 50 and not summary["encoder_calls"])
    report.finish()


def _bare_encoder(run: Run, number: int) -> float:
    """Seconds of the encoder alone for as many pictures, the same prepared ones again and again."""
    encoder = find_encoder("image", run.config.modalities["image"]).load()
    pictures = [path for path in sorted((run.config.base / "images").rglob("*")) if path.is_file()]
    ready = [encoder.prepare(picture.read_bytes()) for picture in pictures[: 2 * BATCH]]
    batches = [ready[:BATCH], ready[BATCH:]]
    encoder.encode(batches[0])
    taken = 0.0
    for turn in range(number // BATCH):
        batch = batches[turn % 2]
        taken += seconds(lambda batch=batch: encoder.encode(batch))  # type: ignore[misc]
    return taken * number / (number // BATCH * BATCH)


if __name__ == "__main__":
    main()
