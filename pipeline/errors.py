"""Exceptions of the pipeline; the command line turns each into one message and an exit status."""

import difflib
from collections.abc import Iterable


class MicrorecError(Exception):
    """Base of every error this program raises on purpose."""

    exit_status = 1


class InputError(MicrorecError):
    """A wrong argument, configuration or input: the message names file, column, value and mend."""

    exit_status = 2


class ConfigError(InputError):
    """A configuration that cannot be used."""


class InputMissingError(InputError):
    """Nothing stands where the configuration says that the input is."""


class InputMovedError(InputError):
    """The input is no longer the one that a run stands on; the message names the files."""


class NotExtractedError(InputError):
    """A content of the catalogue that has no features: it was never extracted, or the catalogue has changed since."""


class StoreError(MicrorecError):
    """The store holds something that does not fit its own description (damaged, incomplete, altered)."""


class DamagedError(StoreError):
    """A file of the store that is not what was written. It stays so until a person does what the message says."""

    exit_status = 2


class PassingError(MicrorecError):
    """A store, a database or a server that fails for now: trying again may help."""


class ChecksRefusedError(MicrorecError):
    """The checks of the input refused it; nothing is computed from it."""

    exit_status = 3


class GateRefusedError(MicrorecError):
    """The quality gate did not let a release become champion."""

    exit_status = 3


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """What to say about an unknown name: the known one that is most similar, or all known ones if none is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"the nearest known one is {prefix + near[0]!r}"
    return f"known are {', '.join(prefix + one for one in names)}"
