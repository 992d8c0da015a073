import re
from types import SimpleNamespace

import microrec_to_pgvector
import pytest
from microrec_assets import CHAMPION

DAG_RUN = SimpleNamespace(run_id="manual__x", logical_date=None)
EVENT = SimpleNamespace(extra={"run_id": "night-1", "release": "s3://store/releases/night-1"})


@pytest.mark.parametrize(
    ("events", "release", "label"),
    [
        ([EVENT], ["--release", "s3://store/releases/night-1"], r"night-1 to-pgvector"),
        ([], [], r"manual__x-[0-9a-f]{8} to-pgvector"),
    ],
)
def test_load_takes_release_and_label_from_the_event(monkeypatch, events, release, label):
    called = []
    context = {"params": {"config": "c.toml"}, "dag_run": DAG_RUN, "triggering_asset_events": {CHAMPION: events}}
    monkeypatch.setattr(microrec_to_pgvector, "get_current_context", lambda: context)
    monkeypatch.setattr(microrec_to_pgvector, "run_microrec", lambda *given: called.append(given))
    microrec_to_pgvector.microrec_to_pgvector().get_task("load").python_callable()
    [(arguments, given)] = called
    assert arguments == ["to-pgvector", "-c", "c.toml", *release]
    assert re.fullmatch(label, given)
