"""A run: its stages, each a transaction that is done once, and the typed result that each commits.

A run whose input has moved begins again under its id (docs/decisions/0025-pinned-input.md): its next generation has
folders of its own, and an attempt of the one before that still computes publishes into the old ones.
"""

import dataclasses
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

from upath import UPath

from pipeline.config.config import Config
from pipeline.documents import as_document, as_record
from pipeline.errors import InputError, MicrorecError
from pipeline.progress import Reporter
from pipeline.storage.committed import DIGESTS, RESULT, Committed, committed, digests_of
from pipeline.storage.files import as_json, is_complete, publish_folder, scratch, swap_bytes, write_json
from pipeline.storage.generations import Generation, generation_folder, generation_in
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What every stage's result says besides its own."""

    seconds: float = 0.0
    peak_memory_bytes: int = 0

    def stands(self, run: "Run") -> bool:
        """Whether what the stage has published elsewhere than in its folder is still there."""
        return True

    def kept_in(self, store: Store) -> Self:
        """As it stands in the store's files, which name no place outside: the store may be moved or mirrored."""
        return self

    def found_in(self, store: Store) -> Self:
        """As it was before `kept_in`, with the places of the store where it is now."""
        return self


ResultType = TypeVar("ResultType", bound=StageResult)


@dataclass(frozen=True)
class Stage(Generic[ResultType]):
    """A stage by its name, which is its folder's, its module's and its command's, and the kind of its result."""

    name: str
    result: type[ResultType]


@dataclass(frozen=True)
class Run:
    """One run of the pipeline and what its stages need."""

    id: str
    config: Config
    store: Store
    reporter: Reporter
    generation: int = 1

    @classmethod
    def present(cls, run_id: str, config: Config, store: Store, reporter: Reporter) -> "Run":
        """The run in the generation that stands now."""
        return cls(run_id, config, store, reporter, generation_in(store.generation(run_id))[0])

    @property
    def path(self) -> UPath:
        """Folder of all that this generation has made."""
        return generation_folder(self.store, self.id, self.generation)

    @property
    def record(self) -> UPath:
        """The configuration that the run began with."""
        return self.store.run_record(self.id)

    def folder(self, stage: Stage[ResultType]) -> UPath:
        """Folder of a stage's committed output."""
        return self.path / stage.name

    def result(self, stage: Stage[ResultType]) -> ResultType | None:
        """What a stage returned, or None while it has not been committed.

        Raises `DamagedError` for a result that cannot be read.
        """
        folder = self.folder(stage)
        if not is_complete(folder):
            return None
        return as_record(stage.result, self.committed(stage).record, folder / RESULT).found_in(self.store)

    def committed(self, stage: Stage[ResultType]) -> Committed:
        """A stage's committed files, each checked when it is opened."""
        return committed(self.folder(stage))

    def require(self, stage: Stage[ResultType]) -> ResultType:
        """What a stage returned.

        Raises `InputError` that names the command to run while it has not been committed.
        """
        result = self.result(stage)
        if result is None:
            raise InputError(
                f"run {self.id} has no result of stage {stage.name}; "
                f"run `microrec {stage.name} --run-id {self.id}` first"
            )
        return result


def begin_again(run: Run) -> Run:
    """The run in the generation after its own; of two processes at once both get the same one."""
    file = run.store.generation(run.id)
    present, found = generation_in(file)
    if present == run.generation:
        swap_bytes(file, found, as_json(as_document(Generation(generation=present + 1))))
    return Run.present(run.id, run.config, run.store, run.reporter)


def require_present(run: Run) -> None:
    """Raise `MicrorecError` where the run has begun again since it was opened."""
    present = generation_in(run.store.generation(run.id))[0]
    if present != run.generation:
        raise MicrorecError(
            f"run {run.id} has begun again on other input (generation {present}, this is {run.generation}); "
            f"continue with `microrec run --run-id {run.id}`"
        )


def run_stage(run: Run, stage: Stage[ResultType], work: Callable[[Run, Path], ResultType]) -> ResultType:
    """Run one stage unless it is done; commit its folder, result and seconds together.

    One whose publication is gone is done again: its folder stays, with the new result.

    Args:
        work: writes the stage's files into the scratch folder that it is given.
    """
    done = run.result(stage)
    if done is not None and done.stands(run):
        run.reporter.say(f"{stage.name}: done before, {done.seconds:.1f} s then")
        return done
    run.reporter.say(f"{stage.name}: run {run.id}")
    start = time.monotonic()
    with scratch(run.folder(stage)) as folder:
        result = work(run, folder)
        result = dataclasses.replace(
            result,
            seconds=round(time.monotonic() - start, 3),
            # A stage that did its work in processes of its own says what they took.
            peak_memory_bytes=max(peak_memory_bytes(), result.peak_memory_bytes),
        )
        write_result(UPath(str(folder)), result.kept_in(run.store), digests_of(folder))
        published = publish_folder(folder, run.folder(stage))
        if done is not None:
            write_result(run.folder(stage), result.kept_in(run.store), run.committed(stage).digests)
    committed = result if published else run.result(stage)
    run.reporter.say(f"{stage.name}: {result.seconds:.1f} s")
    return committed or result


def write_result(folder: UPath, result: StageResult, digests: dict[str, str] | None) -> None:
    """Write a stage's result with the digests of its other files."""
    write_json(folder / RESULT, {**as_document(result), **({} if digests is None else {DIGESTS: digests})})


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
