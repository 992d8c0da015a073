"""Every reader on files with a few bytes altered: read, or refused in one message, never a traceback."""

import gzip
import io
import json
import os
import random

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.cli.failures import exit_status
from tests.pipeline.catalogue.cases import INTERACTIONS, ITEMS, checked, shop, write

SEED, FILES = 20_261_129, int(os.environ.get("MICROREC_FUZZ_FILES", "25"))
"""Files of each kind; MICROREC_FUZZ_FILES=600 makes 10,000 of them in all."""


def as_parquet(columns):
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer, compression="snappy")
    return buffer.getvalue()


def as_csv(columns):
    rows = zip(*columns.values(), strict=True)
    return "".join([",".join(columns) + "\n", *(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)]).encode()


def as_json_lines(columns):
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows).encode()


TIMED = {**INTERACTIONS, "rating": [4.5] * 16, "timestamp": [f"2025-01-{day:02d}" for day in range(1, 17)]}
FORMATS = {
    ".parquet": as_parquet,
    ".csv": as_csv,
    ".csv.gz": lambda columns: gzip.compress(as_csv(columns), mtime=0),
    ".jsonl": as_json_lines,
    ".jsonl.gz": lambda columns: gzip.compress(as_json_lines(columns), mtime=0),
}


def mutated(payload, draw):
    """The payload with one to four of its places altered, cut, doubled or filled with rubbish."""
    bytes_ = bytearray(payload)
    for _ in range(draw.randint(1, 4)):
        place, length = draw.randrange(len(bytes_) or 1), draw.randint(1, 16)
        kind = draw.randrange(5)
        if kind == 0 and bytes_:
            bytes_[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del bytes_[place : place + length]
        elif kind == 2:
            bytes_[place:place] = bytes_[place : place + length]
        elif kind == 3:
            bytes_[place : place + length] = draw.randbytes(length)
        else:
            del bytes_[place:]
    return bytes(bytes_)


def outcomes(payload, path, run, name):
    """The exit statuses that mutations of a payload end in."""
    draw, found = random.Random(f"{SEED} {name}"), set()
    for _ in range(FILES):
        path.write_bytes(mutated(payload, draw))
        found.add(exit_status(lambda: run() and 0))
    return found


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("table", ["items", "inter"])
def test_altered_table_is_read_or_refused(tmp_path, ending, table):
    columns = {**ITEMS, "tags": ["t"] * 6} if table == "items" else TIMED
    config = shop(tmp_path, **{"items" if table == "items" else "interactions": f"x{ending}"})
    found = outcomes(FORMATS[ending](columns), tmp_path / f"x{ending}", lambda: checked(config), f"{table}{ending}")
    assert found <= {0, 2}


@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_altered_vectors_are_read_or_refused(tmp_path, ending):
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    path, audio = tmp_path / f"v{ending}", {"encoder": "precomputed", "vectors": f"v{ending}", "ids": "ids.txt"}
    if ending == ".npy":
        np.save(path, matrix)
        (tmp_path / "ids.txt").write_text("\n".join(ITEMS["item_id"]))
    else:
        write(path, {"item_id": ITEMS["item_id"], "vector": matrix.tolist()})
        del audio["ids"]
    config = shop(tmp_path, modalities={"audio": audio})
    with np.errstate(all="ignore"):
        assert outcomes(path.read_bytes(), path, lambda: checked(config), ending) <= {0, 2}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_altered_picture_is_read_or_counted(tmp_path, kind):
    buffer = io.BytesIO()
    Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 20).convert("RGB").save(buffer, kind)
    write(tmp_path / "items.jsonl", {**ITEMS, "image_path": ["a.img", *[None] * 5]})
    config = shop(tmp_path, items="items.jsonl", modalities={"image": {"encoder": "efficientnet-lite0"}})
    assert outcomes(buffer.getvalue(), tmp_path / "a.img", lambda: checked(config), kind) == {0}
