from types import SimpleNamespace

import pytest
from microrec_settings import AirflowSettings
from microrec_shops import Shop

OLD = SimpleNamespace(extra={"run_id": "night-1", "release": "s3://store/releases/night-1"})


@pytest.mark.parametrize(("name", "schema"), [("", []), ("Shop-A", ["--schema", "shop_a"])])
def test_load_takes_what_the_champion_file_names_however_old_the_event(monkeypatch, fake_microrec, name, schema):
    import microrec_to_pgvector

    shop = Shop(name, "c.toml", AirflowSettings())
    context = {
        "params": {"config": "c.toml"},
        "dag_run": SimpleNamespace(run_id="asset__x", logical_date=None),
        "triggering_asset_events": {shop.champion: [OLD]},
    }
    monkeypatch.setattr(microrec_to_pgvector, "get_current_context", lambda: context)
    fake_microrec.answers({"to-pgvector": [0, {"run_id": "night-2", "changed": True}]})
    loaded = microrec_to_pgvector.consumer(shop).get_task("load").python_callable()
    assert fake_microrec.called() == [["to-pgvector", *schema, "-c", "c.toml"]]
    assert loaded["run_id"] == "night-2"
