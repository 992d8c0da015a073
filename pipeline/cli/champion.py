"""Commands on the champion: which one stands, move it, hold it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import CHAMPION, AsJson, AsOf, ConfigFile, Overrides, load, parse_moment, show
from pipeline.errors import InputError
from pipeline.progress import Reporter

if TYPE_CHECKING:
    from pipeline.storage.layout import Store

app = typer.Typer()
champion_app = typer.Typer(invoke_without_command=True)
app.add_typer(champion_app, name="champion", rich_help_panel=CHAMPION)

Reason = Annotated[str | None, typer.Option("--reason", help="The reason; champion.json keeps it.")]


@app.command(rich_help_panel=CHAMPION)
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Number of the registered version.")],
    as_of: AsOf = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if the champion is held or the gate refuses.")
    ] = False,
    reason: Reason = None,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Promote only if the version is of this run.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion, unless the champion is held or the quality gate refuses."""
    from pipeline.cli.show import show_moved
    from pipeline.registry.promotion import promote as move_champion
    from pipeline.registry.versions import require_version_of
    from pipeline.release.manifest import read_manifest
    from pipeline.release.signature import read_public_keys

    settings, moment = load(config, overrides), parse_moment(as_of)
    store, tracking = settings.open_store(), settings.open_tracking()
    if run_id:
        require_version_of(tracking, version, run_id, read_manifest(store.release(run_id)).release_digest)
    keys = read_public_keys(settings.public_keys)
    moved = move_champion(
        store, tracking, settings.gate, version, Reporter(), moment, force=force, reason=reason, keys=keys
    )
    show(moved, as_json, show_moved)


@app.command(rich_help_panel=CHAMPION)
def rollback(
    reason: Reason = None, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Make the champion before this one the champion again, and hold it until `champion free`."""
    from pipeline.cli.show import show_moved
    from pipeline.registry.promotion import rollback as move_back
    from pipeline.release.signature import read_public_keys

    settings = load(config, overrides)
    keys = read_public_keys(settings.public_keys)
    moved = move_back(settings.open_store(), settings.open_tracking(), Reporter(), reason, keys)
    show(moved, as_json, show_moved)


@champion_app.callback()
def champion(
    context: typer.Context, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Show which release is champion, since when and why, and whether it is held."""
    from pipeline.registry.standing import show_champion

    if context.invoked_subcommand is None:
        show(show_champion(_store(config, overrides)), as_json)
    elif config or overrides or as_json:
        raise InputError(f"champion: give -c, --set and --json behind {context.invoked_subcommand}")


@champion_app.command()
def history(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what happened to the champion and why, newest first."""
    from pipeline.cli.show import show_history
    from pipeline.registry.standing import read_history

    show(read_history(_store(config, overrides)), as_json, show_history)


@champion_app.command()
def hold(
    reason: Annotated[str, typer.Option("--reason", help="The reason; champion.json keeps it.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Let no night replace the champion until `champion free`."""
    from pipeline.registry.standing import hold as hold_champion

    show(hold_champion(_store(config, overrides), reason, Reporter()), as_json)


@champion_app.command()
def free(config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Let nights replace the champion again."""
    from pipeline.registry.standing import free as free_champion

    show(free_champion(_store(config, overrides), Reporter()), as_json)


def _store(config: Path | None, overrides: list[str] | None) -> "Store":
    return load(config, overrides).open_store()
