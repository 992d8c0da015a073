"""The addresses that a task has read and written, for OpenLineage (docs/reference/events.md#openlineage).

An asset of microrec_shops is a name, because its place stands in a configuration that only the workers need. So a task
tells Airflow's collector of lineage while it runs, which keeps nothing where no provider asks it.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from airflow.sdk import get_current_context
from airflow.sdk.lineage import get_hook_lineage_collector
from microrec_settings import read_base
from microrec_shops import find_config

log = logging.getLogger(__name__)


def tell(*, read: Iterable[str] = (), written: Iterable[str] = ()) -> None:
    """Tell the collector of locations, spelled as a configuration or a command's result has them.

    An error here is only a line in the log: it fails no task, above all not one that has moved the champion.
    """
    try:
        _tell(read, written)
    except Exception as error:  # noqa: BLE001  whatever a provider raises
        log.warning("lineage is not reported: %s", error)


def _tell(read: Iterable[str], written: Iterable[str]) -> None:
    context, collector = get_current_context(), get_hook_lineage_collector()
    base = read_base(find_config(context["params"]["config"]))
    for location in read:
        collector.add_input_asset(context["task"], uri=address(location, base))
    for location in written:
        collector.add_output_asset(context["task"], uri=address(location, base))


def address(location: str, base: Path) -> str:
    """`s3://…` or `file:///…` of a location; a relative one starts at `base`."""
    scheme, separator, rest = location.partition("://")
    return f"{scheme}://{quote(rest)}" if separator else (base / location).resolve().as_uri()


def champion_file(release: str) -> str:
    """Location of the `champion.json` that names a release."""
    return f"{release.rpartition('/releases/')[0]}/champion.json"
