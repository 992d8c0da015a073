"""A command pays for what it uses: those that need no torch load none."""

import subprocess
import sys

import polars as pl
import pytest

from pipeline import stages
from pipeline.registry.promotion import promote
from pipeline.run import run_stage
from pipeline.stages.register import register
from tests.pipeline.release_factory import NUM_ITEMS, make_config, make_run, quiet

PROGRAM = """
import sys
from pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as done:
    status = done.code
print(f"status {status}, torch {'torch' in sys.modules}", file=sys.stderr)
"""

WITHOUT_TORCH = {
    "--help": [],
    "promote": ["2"],
    "rollback": [],
    "champion": [],
    "changes": ["--run-id", "r1"],
    "recommend": ["--user", "user-0"],
    "similar": ["--item", "item-0"],
    "verify": ["r1"],
    "gc": [],
}
"""Command to its arguments, in this order: `rollback` takes back what `promote` did.

`gate` is not among them: it ranks items. `promote` takes the verdict that the release carries."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two registered releases, of which the first is champion, and the configuration as a file."""
    folder = tmp_path_factory.mktemp("shop")
    items = pl.DataFrame({"item_id": [f"item-{row}" for row in range(NUM_ITEMS)]})
    items.write_parquet(folder / "items.parquet")
    config = make_config(folder)
    for run_id in ("r1", "r2"):
        run = make_run(config, run_id, judged=run_id == "r2")
        registered = run_stage(run, stages.REGISTER, register)
        if run_id == "r1":
            promote(run.store, config.open_tracking(), config.gate, registered.model_version, quiet())
    (folder / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[store]\nroot = "store"\n[model]\nembedding_dim = 8\n'
    )
    return folder


@pytest.mark.parametrize("command", WITHOUT_TORCH)
def test_command_that_needs_no_torch_loads_none(shop, command):
    configured = [] if command == "--help" else ["-c", str(shop / "microrec.toml")]
    arguments = [command, *WITHOUT_TORCH[command], *configured]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "status 0, torch False", done.stderr


def test_reading_a_configuration_loads_no_torch():
    program = "import sys; import pipeline.config.config, model.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
