"""Files beside the input that seem to hold data and are not read: reported before a night is built on half of it."""

import json
import re
from collections.abc import Collection, Sequence

from upath import UPath

from pipeline.catalogue.locations import HIDDEN, children, descriptions
from pipeline.catalogue.table_logs import is_partition
from pipeline.storage.files import read_start

_OTHER_DATA = re.compile(r"^part-[^.]*$|\.(tsv|txt|orc|avro|feather|arrow|xlsx?|gz|zip|bz2|zst|xz|lz4|snappy)$")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_PEEK = 1 << 16
"""Bytes of a `.json` file that are looked at."""


def overlooked(path: UPath, endings: Sequence[str], named: Collection[UPath]) -> list[UPath]:
    """What lies visibly at a location and is not read: by its ending, in a folder below, or records named `.json`.

    Args:
        path: the location; a glob says itself what is read, but for `.json` beside other tables.
        endings: of the files that are read.
        named: what the configuration names, here or elsewhere: it is not overlooked.
    """
    records = [file for file in descriptions(path, endings) if file not in named and _holds_records(file)]
    if not path.is_dir():
        return records
    visible = [child for child in children(path) if not child.name.startswith(HIDDEN)]
    others = [child for child in visible if not is_partition(child.name) and _seems_data(child, tuple(endings))]
    above = {folder for one in named for folder in (one, *one.parents)}
    return sorted({*records, *(child for child in others if child not in above)}, key=str)


def _seems_data(path: UPath, endings: tuple[str, ...]) -> bool:
    if path.is_dir():
        names = [child.name.lower() for child in children(path)]
        return any(name.endswith(endings) for name in names) and not any(name.endswith(_PICTURES) for name in names)
    return bool(_OTHER_DATA.search(path.name.lower())) and not path.name.lower().endswith(endings)


def _holds_records(file: UPath) -> bool:
    """Whether a file under the name of JSON holds a list or lines of records, where one document describes tables."""
    if file.name.lower().endswith(".gz"):
        return True
    start = read_start(file, _PEEK).removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in start.splitlines() if line.strip()]
    if not lines:
        return False
    try:
        first = json.loads(lines[0])
    except ValueError:
        return lines[0].lstrip().startswith(b"[")
    return isinstance(first, list) or len(lines) > 1
