"""The command on the store itself: what can go."""

from typing import Annotated

import typer

from pipeline.cli.options import UPKEEP, AsJson, ConfigFile, Overrides, load, show
from pipeline.progress import Reporter

app = typer.Typer()


@app.command(rich_help_panel=UPKEEP)
def gc(
    keep: Annotated[int, typer.Option("--keep", min=0, help="Number of newest releases that always stay.")] = 7,
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0, help="Days that everything stays after its last use.")
    ] = 30.0,
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove it; without this option, only say what can go.")
    ] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say which runs, releases, registered versions and features can go; remove them with --apply."""
    from pipeline.cli.show_gc import show_collected
    from pipeline.upkeep.gc import collect

    settings = load(config, overrides)
    show(collect(settings, Reporter(), keep=keep, keep_days=keep_days, apply=apply), as_json, show_collected)
