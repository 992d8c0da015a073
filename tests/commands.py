"""The command line, called in this process: loading torch once for many commands."""

import contextlib
import io
from types import SimpleNamespace

import pytest

from pipeline.cli import main


def microrec(*arguments) -> SimpleNamespace:
    """Run a command; its exit status and what it wrote, as `subprocess.run` gives them."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    return SimpleNamespace(returncode=done.value.code, stdout=out.getvalue(), stderr=err.getvalue())
