"""The champion of the moment at which a run begins: what its training may start from and its release is aligned to.

It is written down once, whatever the champion is when the run is killed and resumed: the same release comes out.
"""

from dataclasses import dataclass

from upath import UPath

from pipeline.documents import as_document, as_record
from pipeline.errors import StoreError
from pipeline.registry.champion import read_champion
from pipeline.storage.files import as_json, create_bytes, parse_json, read_bytes
from pipeline.storage.layout import Store

PREDECESSOR = "predecessor.json"


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """A release that a run stands on."""

    run_id: str | None
    """None: there was none, or none that could be read."""
    digest: str | None = None
    manifest_sha256: str | None = None
    """Of its `manifest.json`; None where `champion.json` did not say."""
    reason: str | None = None
    """Why none could be read."""


def predecessor(folder: UPath, store: Store) -> Predecessor:
    """The one that stands in a run's folder; today's champion where none does yet.

    A damaged `champion.json` does not cost the night's release: the run then has no predecessor, and says why.
    """
    file = folder / PREDECESSOR
    try:
        payload = read_bytes(file)
    except FileNotFoundError:
        payload = create_bytes(file, as_json(as_document(_present(store))))
    return as_record(Predecessor, parse_json(file, payload), file)


def _present(store: Store) -> Predecessor:
    try:
        champion = read_champion(store)
    except StoreError as error:
        return Predecessor(run_id=None, reason=f"{store.champion} is damaged ({error})")
    if champion is None:
        return Predecessor(run_id=None)
    return Predecessor(run_id=champion.run_id, digest=champion.digest, manifest_sha256=champion.manifest_sha256)
