"""The pinned input of a run: its stages read it as it was, or the run begins again on the input of now."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import stages
from pipeline.catalogue.pin import Pin, confirm, take_pin, unmoved
from pipeline.errors import InputMovedError
from pipeline.run import Run, begin_again
from pipeline.storage.files import is_complete


def pinned(run: Run) -> Pin | None:
    """What the run stands on; None for one that has not been validated, or was by a version that pinned nothing."""
    validated = run.result(stages.VALIDATE)
    return validated.input if validated and validated.input.files else None


@contextmanager
def input_of(run: Run) -> Iterator[Pin]:
    """Let a stage read the tables; what it reads is what it is given, from the first byte to the last.

    A run without a pin stands on the tables that this finds.

    Raises `InputMovedError` that says how to go on.
    """
    catalogue, known = run.config.open_catalogue(), pinned(run)
    mend = f"`microrec validate --run-id {run.id}` begins the run again on the input of now" if known else "do it again"
    pin = known or take_pin(catalogue)
    try:
        with unmoved(catalogue, pin):
            yield pin
    except InputMovedError as error:
        raise InputMovedError(
            f"run {run.id}: its input is no longer the one it began with ({error}); {mend}"
        ) from error


@contextmanager
def pinned_input(run: Run) -> Iterator[None]:
    """`input_of`, for a stage that hands no digests on: a run without a pin is read as it comes."""
    if pinned(run) is None:
        yield
        return
    with input_of(run):
        yield


def renewed(run: Run) -> Run:
    """The run, begun again where its input has moved and no release of it is published."""
    pin = pinned(run)
    if pin is None:
        return run
    try:
        confirm(run.config.open_catalogue(), pin)
    except InputMovedError as moved:
        if is_complete(run.store.release(run.id)):
            run.reporter.say(f"validate: the input has moved since ({moved}); run {run.id} has its release and stays")
            return run
        run.reporter.say(f"validate: run {run.id} begins again, its input has moved ({moved})")
        return begin_again(run)
    return run
