"""What is read of a release: each file is held against the manifest's digest once, and then read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from pipeline.errors import DamagedError
from pipeline.release.format import read_table
from pipeline.release.manifest import MANIFEST, FileEntry, manifest_of, mend_of
from pipeline.storage.files import file_sha256, list_files, local_copy


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A published folder, and the document in it that has the digests of its files."""

    folder: UPath
    files: list[FileEntry]
    document: str
    mend: str
    """How to get sound files."""

    def table(self, name: str, rows: pc.Expression | None = None) -> pa.Table:
        """One table, as `format.read_table` reads it, after its files were found to be those of the document.

        Raises `DamagedError` that names the file, `StoreError` where there is no such table.
        """
        expected = self.digests(f"{name}/")
        with local_copy(self.folder / name) as folder:
            here = UPath(str(folder.parent))
            there = {f"{name}/{part}" for part in list_files(here / name)} if folder.exists() else set()
            for part in sorted(there | set(expected)):
                self.require_sound(part, here, expected)
            return read_table(here, name, rows)

    def digests(self, prefix: str) -> dict[str, str]:
        """sha256 by name, of the files whose names begin so."""
        return {entry.path: entry.sha256 for entry in self.files if entry.path.startswith(prefix)}

    def require_sound(self, name: str, here: UPath, expected: dict[str, str]) -> None:
        """Raise `DamagedError` where the copy of a file in the local folder `here` is not the one listed."""
        file = here / name
        if name not in expected:
            problem = f"is not in {self.document}"
        elif not file.exists():
            problem = "is missing"
        elif file_sha256(file) != expected[name]:
            problem = f"is damaged: {self.document} has another sha256"
        else:
            return
        raise DamagedError(f"{self.folder / name} {problem}; {self.mend}")


def sound_table(release: UPath, name: str, rows: pc.Expression | None = None) -> pa.Table:
    """One table of a release (`Listed.table`)."""
    return _listed(release).table(name, rows)


@contextmanager
def sound_file(release: UPath, name: str) -> Iterator[Path | None]:
    """One file of a release, on this machine; None where the manifest has no such file.

    Raises `DamagedError` where it is not the one of the manifest.
    """
    listed = _listed(release)
    expected = listed.digests(name)
    if not expected:
        yield None
        return
    with local_copy(release / name) as file:
        listed.require_sound(name, UPath(str(file.parent)), {name: expected[name]})
        yield file


def _listed(release: UPath) -> Listed:
    return Listed(folder=release, files=manifest_of(release).files, document=MANIFEST, mend=mend_of(release))
