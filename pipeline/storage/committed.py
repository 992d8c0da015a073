"""A folder that was committed with its result: each of its files is held against its digest when it is opened."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.errors import DamagedError
from pipeline.storage.files import file_sha256, is_complete, list_files, local_copy, read_json

RESULT = "result.json"
DIGESTS = "files"
"""Key of the result: sha256 of every other file of the folder, by its name."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A committed folder as it was found."""

    folder: UPath
    record: Mapping[str, Any]
    """Its result, as JSON; empty where there is none."""

    @property
    def mend(self) -> str:
        """How to get sound files."""
        return f"delete {self.folder}: the run, continued under its id, does stage {self.folder.name} again"

    @property
    def digests(self) -> dict[str, str] | None:
        """By name; None of an earlier version's, which kept none."""
        return self.record.get(DIGESTS)

    def holds(self, name: str) -> bool:
        """Whether the file was committed; the earlier version's: whether it is there."""
        return (self.folder / name).exists() if self.digests is None else name in self.digests

    @contextmanager
    def open(self, name: str) -> Iterator[Path]:
        """Yield the file, on this machine, after its bytes were read once and found to be those that were committed.

        Raises `DamagedError` that names the file, and how to come by a sound one.
        """
        with local_copy(self.folder / name) as file:
            problem = self._problem(name, file)
            if problem:
                raise DamagedError(f"{self.folder / name} {problem}; {self.mend}")
            yield file

    def _problem(self, name: str, file: Path) -> str | None:
        if not file.exists():
            return "is missing"
        if self.digests is None:
            return None
        if name not in self.digests:
            return "was not there when its stage was committed"
        return None if file_sha256(file) == self.digests[name] else "is damaged: its sha256 is not the one committed"


def committed(folder: UPath) -> Committed:
    """What stands in a folder; one that was never committed, such as a copy, has no digests.

    Raises `DamagedError` where its result is damaged or missing.
    """
    found = Committed(folder=folder, record={})
    try:
        record = read_json(folder / RESULT, found.mend)
    except FileNotFoundError as error:
        if is_complete(folder):
            raise DamagedError(f"{folder / RESULT} is missing; {found.mend}") from error
        return found
    if not isinstance(record, dict):
        raise DamagedError(f"{folder / RESULT} is damaged: it is no JSON object; {found.mend}")
    return Committed(folder=folder, record=record)


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 of every file of a local folder, by its name."""
    return {name: file_sha256(folder / name) for name in list_files(UPath(str(folder)))}
