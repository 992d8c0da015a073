"""Writes the sample catalogue into an object store: the first night of a new stack has something to work on."""

import argparse
import sys
import tempfile
from pathlib import Path

from upath import UPath

from pipeline.sample import write_sample


def seed(target: UPath, num_items: int, num_users: int) -> int:
    """Copy a fresh sample to `target`, except its configuration; return the number of files.

    The tables go last, so that no night begins with pictures missing; where they are, nothing is written.
    """
    if (target / "items.parquet").exists():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), num_items=num_items, num_users=num_users)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".toml")
        files.sort(key=lambda path: path.suffix == ".parquet")
        for file in files:
            place = target / file.relative_to(folder).as_posix()
            place.write_bytes(file.read_bytes())
    return len(files)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="such as s3://bucket/prefix")
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--users", type=int, default=800)
    given = parser.parse_args()
    count = seed(UPath(given.target), given.items, given.users)
    sys.stderr.write(f"{count} files written to {given.target}\n" if count else "the catalogue is there already\n")
