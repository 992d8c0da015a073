"""Asks the checks whether today's input may follow that of today's champion.

Only counts are compared, so asking costs nothing; it is asked anew each time.
"""

from pipeline.dataset.records import InputCounts
from pipeline.registry.champion import Champion, champion_manifest, read_champion
from pipeline.registry.check_rows import compare, floors
from pipeline.registry.checks import ACCEPTED, OFF, OK, REFUSED, Checks, ChecksConfig, Verdict
from pipeline.release.manifest import Manifest
from pipeline.storage.files import is_complete
from pipeline.storage.layout import Store


def ask_checks(store: Store, settings: ChecksConfig, now: InputCounts, *, accept_change: bool = False) -> Checks:
    """Compare today's input with that of today's champion.

    Args:
        now: what `validate` counted.
        accept_change: what the comparison would refuse is `accepted`; the floors hold all the same.
    """
    if not settings.enabled:
        return Checks(verdict=OFF, note="checks.enabled is false")
    champion = read_champion(store)
    then, note = _input_of(store, champion)
    rows = [*floors(settings, now), *(compare(settings, now, then, accept_change=accept_change) if then else [])]
    verdicts = {row.verdict for row in rows}
    verdict: Verdict = REFUSED if REFUSED in verdicts else ACCEPTED if ACCEPTED in verdicts else OK
    return Checks(
        verdict=verdict,
        champion=champion.run_id if champion and then else None,
        note=note,
        rows=rows,
        reasons=[row.reason() for row in rows if row.verdict in (REFUSED, ACCEPTED)],
    )


def _input_of(store: Store, champion: Champion | None) -> tuple[InputCounts | None, str]:
    """What the champion was made from, or why that is not known."""
    if champion is None:
        return None, "there is no champion to compare with"
    release = store.release(champion.run_id)
    if not is_complete(release):
        return None, f"the champion's release {champion.run_id} is gone, so only floors are checked"
    manifest = champion_manifest(store, champion)
    return manifest.input or _counted(manifest), ""


def _counted(manifest: Manifest) -> InputCounts:
    """What the manifest of an earlier version says of its input."""
    counts, prefix = manifest.counts, "items_with_"
    of_items = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    kept = manifest.config.get("catalogue", {}).get("filter", {})
    return InputCounts(
        items=counts.get("items"),
        users=counts.get("users"),
        interactions=counts.get("interactions"),
        usable={name: of_items[name] for name in manifest.encoders if name in of_items},
        user_share=kept.get("user_share", 1.0),
    )
