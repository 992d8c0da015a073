"""A configuration that cannot do is refused before it takes the run id."""

import json

import pytest

from pipeline.config.config import load_config
from pipeline.errors import ConfigError, InputError, StoreError
from pipeline.opening import open_run
from tests.pipeline.release_factory import quiet


def opened(tmp_path, *overrides):
    file = tmp_path / "microrec.toml"
    file.write_text('[catalogue]\nitems = "items.parquet"\ninteractions = ["x.parquet"]\n')
    return open_run(load_config(file, overrides), "r", quiet())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modalities.image.encoder=efficientnet", "modalities.image.encoder = 'efficientnet' is unknown; use"),
        ('modalities.text={encoder = "all-minilm-l6-v2"}', "modalities.text: a text encoder needs columns"),
        ('modalities.values={encoder = "efficientnet-lite0"}', "'values' is a name that PyTorch keeps for itself"),
        ('modalities.training={encoder = "efficientnet-lite0"}', "'training' is a name that PyTorch keeps"),
        ('model.modalities=["imag"]', r"names 'imag', which has no section .*the nearest known one is 'image'"),
        ('model.modalities=["text", "text"]', "model.modalities names 'text' twice"),
        ("train.warm_start=yesterday", "train.warm_start = 'yesterday': there is no such run in .*runs; name an"),
        ("mlflow.tracking_uri=gopher://host", "mlflow.tracking_uri is 'gopher://host'; MLflow needs"),
        ('tune.space={"train.lerning_rate" = [1e-3]}', "tune.space: unknown key 'train.lerning_rate'; the nearest"),
    ],
)
def test_open_run_wrong_configuration_leaves_the_id_free(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, override)
    assert opened(tmp_path).id == "r"


def test_open_run_continues_though_the_run_it_began_from_is_gone(tmp_path):
    opened(tmp_path, "store.root=elsewhere")
    earlier = tmp_path / "elsewhere/runs/earlier"
    earlier.mkdir()
    (earlier / "config.json").write_text("{}")
    settings = ("store.root=elsewhere", "train.warm_start=earlier")
    (tmp_path / "elsewhere/runs/r/config.json").unlink()
    opened(tmp_path, *settings)
    (earlier / "config.json").unlink()
    assert opened(tmp_path, *settings).config.train.warm_start == "earlier"


@pytest.mark.parametrize("damage", ["3", "null", "[]", "{"])
def test_open_run_whose_record_is_no_configuration_says_so(tmp_path, damage):
    opened(tmp_path).record.write_text(damage)
    with pytest.raises(StoreError, match=r"config\.json is (damaged|not valid JSON)"):
        opened(tmp_path)


@pytest.mark.parametrize("override", [None, "model.new_items=graphs"])
def test_open_run_begun_by_an_older_version_goes_on_with_the_defaults_of_new_settings(tmp_path, override):
    record = opened(tmp_path).path / "config.json"
    older = json.loads(record.read_text())
    del older["model"]["new_items"], older["seal"]
    record.write_text(json.dumps(older))
    if override is None:
        assert opened(tmp_path).id == "r"
    else:
        with pytest.raises(InputError, match=r"another configuration \(model.new_items: 'raised' then, 'graphs' now"):
            opened(tmp_path, override)
