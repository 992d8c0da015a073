"""What whoever may trigger a DAG cannot do: send credentials elsewhere, or take another configuration."""

import logging

import pytest

FORBIDDEN = [
    "mlflow.tracking_uri=http://elsewhere",
    "mlflow={tracking_uri='http://elsewhere'}",
    " mlflow . tracking_uri=http://elsewhere",
    "store.root=s3://elsewhere",
    "catalogue.items=/etc/passwd",
    "catalogue={items='/etc/passwd'}",
    "catalogue.filterx.min_rating=1",
    "modalities.text.encoder=sentence-transformers:elsewhere",
    "airflow.overridable=['mlflow']",
    "base=/",
    "trainer=1",
    "=1",
    "",
]
ALLOWED = ["train.max_epochs=3", "train={max_epochs=3}", "gate.metric=recall@10", "catalogue.filter.min_rating=2"]
ELSEWHERE = [
    "/etc/microrec/microrec.toml",
    "../other.toml",
    "microrec.toml/../x.toml",
    "s3://b/x.toml",
    ".toml",
    "x",
    "",
]
KINDS = ("nightly", "approval", "champion", "to_pgvector")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROREC_CONFIG", str(tmp_path / "microrec.toml"))
    (tmp_path / "microrec.toml").write_text("")
    return tmp_path


@pytest.mark.parametrize("override", FORBIDDEN)
def test_configured_refuses_a_setting_that_is_not_to_be_changed(folder, override):
    from airflow.sdk.exceptions import AirflowFailException
    from microrec_run import configured

    with pytest.raises(AirflowFailException, match=r"airflow.overridable in .*/microrec.toml has catalogue.filter, "):
        configured("microrec.toml", ["train.seed=1", override])


def test_configured_takes_what_the_configuration_lets_be_changed(folder):
    from microrec_run import configured

    assert configured("microrec.toml", [ALLOWED[0]]) == ["-c", f"{folder}/microrec.toml", "--set", ALLOWED[0]]
    (folder / "wide.toml").write_text('[airflow]\noverridable = ["catalogue.items"]\n')
    configured("wide.toml", ["catalogue.items=s3://b/{ds}.csv", "train.device=cpu", "catalogue.filter.user_share=0.5"])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_configured_refuses_a_configuration_from_elsewhere(folder, name):
    from airflow.sdk.exceptions import AirflowFailException
    from microrec_run import configured

    with pytest.raises(AirflowFailException, match="name a file beside"):
        configured(name)


@pytest.fixture(scope="module")
def dags(tmp_path_factory):
    """One shop without a folder, two with one."""
    from pathlib import Path

    from airflow.dag_processing.dagbag import DagBag

    root = Path(__file__).resolve().parents[2]

    folder = tmp_path_factory.mktemp("shops")
    for name in ("books", "toys"):
        (folder / f"{name}.toml").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        one = DagBag(str(root / "dags")).dags
        patch.setenv("MICROREC_CONFIGS", str(folder))
        return one | DagBag(str(root / "dags")).dags


def accepts(param, value):
    from airflow.sdk.exceptions import ParamValidationError

    try:
        param.resolve(value)
    except ParamValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS[:2])
def test_param_set_refuses_before_there_is_a_run(dags, kind):
    param = dags[f"microrec_{kind}"].params.get_param("set")
    assert not any(accepts(param, [override]) for override in FORBIDDEN)
    assert accepts(param, ALLOWED)


@pytest.mark.parametrize("kind", KINDS)
def test_param_config_is_a_name_and_of_a_shop_its_own(dags, kind):
    param = dags[f"microrec_{kind}"].params.get_param("config")
    assert not any(accepts(param, name) for name in ELSEWHERE)
    assert accepts(param, "trial.toml")
    books = dags[f"microrec_{kind}_books"].params.get_param("config")
    assert accepts(books, "books.toml")
    assert not accepts(books, "toys.toml")


def test_log_of_a_command_has_no_secret_of_an_override(fake_microrec, caplog):
    from microrec_command import run_microrec

    fake_microrec.answers({})
    secrets = ["http://me:planted@host/x", "https://planted@host", "s3://b/x?X-Amz-Signature=planted"]
    settings = [part for one in (*secrets, "s3://b/plain") for part in ("--set", f"catalogue.items={one}")]
    with caplog.at_level(logging.INFO):
        run_microrec(["validate", *settings], "r1")
    assert "planted" not in caplog.text
    assert "catalogue.items=***" in caplog.text
    assert "catalogue.items=s3://b/plain" in caplog.text
    assert fake_microrec.called()[0][2] == f"catalogue.items={secrets[0]}"
