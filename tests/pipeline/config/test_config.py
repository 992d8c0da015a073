from pathlib import Path

import pytest

from pipeline.config.config import compose, load_config
from pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]

MINIMAL = {"catalogue": {"items": "items.parquet", "interactions": ["x.parquet"]}}


def write(tmp_path, text):
    path = tmp_path / "microrec.toml"
    path.write_text('[catalogue]\nitems = "data/items.parquet"\ninteractions = ["x.parquet"]\n' + text)
    return path


def test_load_config_relative_locations_start_at_the_files_folder(tmp_path):
    config = load_config(write(tmp_path, '[store]\nroot = "store"\n'))
    assert str(config.path(config.catalogue.items)) == str(tmp_path / "data/items.parquet")
    assert config.tracking_uri == f"sqlite:///{tmp_path}/store/mlflow.db"


def test_load_config_missing_file_names_it_and_the_mend(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration at .*absent\.toml.*microrec sample"):
        load_config(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[train]\nmax_epoch = 3\n",
            "unknown key 'train.max_epoch'; the nearest known one is 'train.max_epochs'",
        ),
        (
            "[modalities.text]\nencodr = 'x'\n",
            "'modalities.text.encodr'; the nearest known one is 'modalities.text.encoder'",
        ),
        ("[trian]\nseed = 1\n", "unknown key 'trian'; the nearest known one is 'train'"),
        (
            "[zebra]\nseed = 1\n",
            "unknown key 'zebra'; known are airflow, catalogue, checks, compare, evaluation, export, gate, mlflow",
        ),
        ("[split]\ntest = 1.5\n", "split: test must be at least 0 and below 1, got 1.5"),
        ("[split]\nstrategy = 'hourly'\n", "split.strategy: expected 'random', .*, got 'hourly'"),
        ("[train]\npatience = 'much'\n", "train.patience: expected a valid integer, .*, got 'much'"),
        ("[train]\nbatch_size = 'many'\n", "train.batch_size: expected a valid integer, .*, got 'many'"),
        ("[model]\nmodalities = 'text'\n", "model.modalities: expected a list, got 'text'"),
        ("[model]\nbackbone = 'lightgnc'\n", "model: backbone 'lightgnc' is unknown; .*nearest is 'lightgcn'"),
        ("[modalities.text]\ncolumns = ['title']\n", "modalities.text.encoder has no value; set it"),
        ("[modalities.'a/b']\nencoder = 'efficientnet-lite0'\n", "'a/b' cannot be a modality's name"),
        ("[tune.space]\n'train.seed' = 3\n", "tune.space.train.seed: expected a list, got 3"),
        ("[train]\nlearning_rate = inf\n", "train.learning_rate: expected a finite number, got inf"),
        ("[train.objective]\nl2 = nan\n", "train.objective.l2: expected a finite number, got nan"),
        (
            "[tune.space]\n'train.objective.l2' = [0.1, inf]\n",
            "train.objective.l2: expected a finite number, got inf",
        ),
        ("[mlflow]\nexperiment = ' '\n", "mlflow: experiment is empty"),
        ("[mlflow]\nmodel_name = 'a/b'\n", "mlflow: model_name is 'a/b'; MLflow allows neither"),
        ("[store]\nroot = 'gs://bucket'\n", "store.root: 'gs://bucket' begins with gs://; name a local path, or s3://"),
        ("[catalogue.filter]\nmin_rating = -inf\n", "catalogue.filter.min_rating: expected a finite number, got -inf"),
        ("[train\n", "cannot be read"),
        ("[base]\nfolder = 1\n", "base: expected a folder"),
    ],
)
def test_load_config_wrong_entry_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_load_config_overrides_reach_nested_keys_and_bare_words(tmp_path):
    overrides = [
        "train.max_epochs=3",
        "model.backbone=mf",
        "train.objective.l2=0.5",
        "model.modalities=[]",
        "modalities.image.encoder=timm:x",
    ]
    config = load_config(write(tmp_path, ""), overrides)
    assert (config.train.max_epochs, config.model.backbone, config.train.objective.l2) == (3, "mf", 0.5)
    assert config.model.modalities == ()
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        load_config(write(tmp_path, ""), ["train"])


def test_load_config_base_is_where_relative_locations_start(tmp_path):
    path = write(tmp_path, "")
    for base, expected in (("sub", tmp_path / "sub"), ("/elsewhere", "/elsewhere")):
        path.write_text(f'base = "{base}"\n[catalogue]\nitems = "data/items.parquet"\ninteractions = ["x.parquet"]\n')
        config = load_config(path)
        assert str(config.path(config.catalogue.items)) == f"{expected}/data/items.parquet"


def test_with_values_changes_these_keys_only_and_keeps_the_password(tmp_path):
    config = compose({**MINIMAL, "mlflow": {"tracking_uri": "postgresql+psycopg2://me:secret@host/db"}}, base=tmp_path)
    changed = config.with_values({"train.objective.l2": 0.5, "model.modalities": ["text"]})
    assert (changed.train.objective.l2, changed.model.modalities) == (0.5, ("text",))
    assert changed.with_values({"train.objective.l2": config.train.objective.l2, "model.modalities": None}) == config
    with pytest.raises(ConfigError, match="'seed' is a value, not a section"):
        config.with_values({"train.seed.x": 1})


def test_compose_resolved_configuration_composes_to_itself(tmp_path):
    config = compose(MINIMAL, base=tmp_path)
    assert compose(config.as_dict(), base=tmp_path) == config


def test_as_dict_passwords_are_not_repeated(tmp_path):
    config = compose({**MINIMAL, "mlflow": {"tracking_uri": "postgresql+psycopg2://me:secret@host/db"}}, base=tmp_path)
    assert "secret" not in str(config.as_dict())
    assert "secret" in config.tracking_uri
