"""What may pass tomorrow is exit status 1 with one message, for an orchestrator to try again; what stays is 2."""

import http.client
import importlib
import io
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import s3fs
from PIL import Image

from features.errors import FeatureError
from features.image_encoders import torchvision_model
from features.modality import ModalityConfig
from pipeline.cli.failures import exit_status
from pipeline.errors import InputError
from tests.commands import microrec
from tests.pipeline.tiny import make_tiny
from tests.servers import answering, free_ports

XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>m</Message></Error>"
PUT_OFF = "postgresql+psycopg2://me:s3cret@127.0.0.1:{}/mlflow"
S3 = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


@pytest.fixture
def shop(tmp_path):
    """A catalogue and its configuration file."""
    make_tiny(tmp_path)
    (tmp_path / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n[store]\nroot = "store"\n'
        '[modalities.text]\nencoder = "precomputed"\nvectors = "text.parquet"\n'
    )
    return tmp_path / "microrec.toml"


@pytest.fixture
def impatient(monkeypatch):
    """Clients that try once."""
    for key, value in {**S3, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def assert_told(done, status, words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("microrec: ")]
    assert len(told) == 1, done.stderr
    assert words in told[0]
    assert done.stderr.splitlines()[-1] == told[0]


@pytest.mark.parametrize("setting", ["store.root", "catalogue.items"])
@pytest.mark.parametrize(
    ("status", "code", "ends"),
    [
        (503, "SlowDown", 1),
        (500, "InternalError", 1),
        (429, "TooManyRequests", 1),
        (400, "ExpiredToken", 1),
        (403, "AccessDenied", 2),
        (404, "NoSuchBucket", 2),
    ],
)
def test_command_store_that_answers_with_a_fault_ends_with_its_status(
    shop, impatient, monkeypatch, setting, status, code, ends
):
    with answering(status, XML.format(code)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        done = microrec("validate", "-c", shop, "--set", f"{setting}=s3://bucket/x.parquet")
        if setting == "store.root":
            done = microrec("verify", "r1", "-c", shop, "--set", f"{setting}=s3://bucket/x")
    assert_told(done, ends, code)


def test_command_store_that_does_not_answer_is_status_1(shop, impatient, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    done = microrec("validate", "-c", shop, "--set", "catalogue.items=s3://bucket/items.parquet")
    assert_told(done, 1, "is it running")


def test_command_store_that_goes_away_while_polars_reads_is_status_1(shop, impatient, monkeypatch):
    def gone(frame, **_):
        raise ConnectionRefusedError(
            "object-store error: Generic S3 error: Error performing GET http://h/b/x - HTTP error: error sending "
            "request (path: s3://b/x)\n\nCaused by:\n    Connection refused"
        )

    monkeypatch.setattr(pl.LazyFrame, "collect", gone)
    done = microrec("validate", "-c", shop)
    assert_told(done, 1, "is it running")
    assert "correct the value" not in done.stderr


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_command_table_whose_store_is_throttled_is_no_damaged_table(shop, impatient, monkeypatch, ending):
    monkeypatch.setenv("POLARS_CLOUD_MAX_RETRIES", "1")
    monkeypatch.setattr("pipeline.catalogue.catalogue.find_files", lambda path, *_: [path])
    with answering(503, XML.format("SlowDown")) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        done = microrec("validate", "-c", shop, "--set", f"catalogue.items=s3://bucket/items.{ending}")
    assert_told(done, 1, "503")


@pytest.mark.parametrize(
    ("status", "body", "ends"),
    [
        (503, "", 1),
        (500, '{"error_code": "INTERNAL_ERROR", "message": "m"}', 1),
        (429, "", 1),
        (200, "<html>maintenance</html>", 1),
        (403, "", 2),
        (401, "no", 2),
        (404, "", 2),
    ],
)
def test_command_mlflow_that_answers_with_a_fault_ends_with_its_status(shop, impatient, status, body, ends):
    with answering(status, body) as address:
        done = microrec("promote", "1", "-c", shop, "--set", f"mlflow.tracking_uri={address}")
    assert_told(done, ends, "MLflow: ")


def test_command_mlflow_that_does_not_answer_is_status_1(shop, impatient):
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = microrec("promote", "1", "-c", shop, "--set", f"mlflow.tracking_uri={address}")
    assert_told(done, 1, "mlflow.tracking_uri")


def test_command_database_that_does_not_answer_is_status_1_and_names_no_password(shop, impatient):
    address = PUT_OFF.format(free_ports(1)[0])
    done = microrec("promote", "1", "-c", shop, "--set", f"mlflow.tracking_uri={address}")
    assert_told(done, 1, "Connection refused")
    assert "s3cret" not in done.stderr


def test_command_pgvector_that_does_not_answer_is_status_1(shop, monkeypatch):
    monkeypatch.setattr("pipeline.serving.pgvector.choose_release", lambda *_: shop)
    monkeypatch.setattr(
        "pipeline.serving.pgvector_state.read_manifest", lambda *_: type("M", (), {"release_digest": "d"})
    )
    monkeypatch.setenv("MICROREC_PGVECTOR_DSN", f"postgresql://me@127.0.0.1:{free_ports(1)[0]}/db")
    assert_told(microrec("to-pgvector", "-c", shop), 1, "Connection refused")


@pytest.mark.parametrize(("status", "ends"), [(503, 1), (429, 1), (404, 2)])
def test_encoder_whose_weights_cannot_be_fetched_ends_with_its_status(monkeypatch, tmp_path, capsys, status, ends):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = torchvision_model(ModalityConfig(encoder="torchvision:resnet18"), "resnet18")
    with answering(status) as address:
        monkeypatch.setattr("torchvision.models.resnet.ResNet18_Weights.IMAGENET1K_V1.value.url", f"{address}/w.pth")

        def load():
            spec.load()

        assert exit_status(load) == ends
    assert "microrec: the weights of torchvision:resnet18 cannot be loaded here" in capsys.readouterr().err


def test_encoder_whose_hub_is_unreachable_is_status_1(capsys):
    """As sentence-transformers raises it: its own words, and the network's error three causes below."""

    def load():
        try:
            try:
                raise http.client.RemoteDisconnected("closed")
            except http.client.HTTPException as error:
                raise OSError("We couldn't connect to the hub") from error
        except OSError as error:
            raise FeatureError(f"the model cannot be loaded here ({error})") from error

    assert exit_status(load) == 1
    assert capsys.readouterr().err == "microrec: the model cannot be loaded here (We couldn't connect to the hub)\n"


def test_input_error_without_a_fault_behind_it_stays_status_2(capsys):
    def refuse():
        try:
            raise FileNotFoundError("absent")
        except FileNotFoundError as error:
            raise InputError("no such file") from error

    assert exit_status(refuse) == 2


def test_memory_error_is_status_1_with_one_message(capsys):
    def fail():
        np.zeros((1 << 45, 1 << 10))

    assert exit_status(fail) == 1
    told = capsys.readouterr().err
    assert told.startswith("microrec: not enough memory (Unable to allocate")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes",
        "Exception from core.cpp:117:\nCheck 'ptr' failed:\nFailed to allocate 192675840 bytes of memory",
        'Exception from core.cpp:117:\nCannot load library "plugin.so": failed to map segment from shared object',
    ],
)
def test_memory_that_torch_or_openvino_lacks_is_status_1_with_one_message(capsys, said):
    def fail():
        raise RuntimeError(said)

    assert exit_status(fail) == 1
    told = capsys.readouterr().err
    assert told.startswith("microrec: not enough memory (")
    assert told.count("\n") == 1


@pytest.mark.parametrize("decoder", ["features.pictures.decode", "pipeline.release.cards.thumbnail"])
def test_picture_for_which_memory_is_short_is_not_recorded_as_unreadable(monkeypatch, decoder):
    module, _, function = decoder.rpartition(".")
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        getattr(importlib.import_module(module), function)(buffer.getvalue())


@pytest.mark.parametrize(
    ("panic", "told"),
    [
        ("index out of bounds:\nthe len is 3", "Polars failed internally (index out of bounds: the len is 3); "),
        ("an `Err` value: Too many open files", "no more files can be opened (an `Err` value: Too many open files); "),
    ],
    ids=["any", "open files"],
)
def test_command_panic_of_polars_is_one_message_without_a_traceback(capsys, panic, told):
    def command():
        raise pl.exceptions.PanicException(panic)

    assert exit_status(command) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"microrec: {told}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("soft", "hard", "status"), [(40, 40, 1), (40, 64, 0)])
def test_command_with_few_open_files_says_so_before_it_begins_and_takes_what_it_may(soft, hard, status):
    command = f"ulimit -Sn {soft}; ulimit -Hn {hard}; exec {sys.executable} -m pipeline.cli --help"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    wanted = "microrec: only 40 files may be open at once here; allow 64 (`ulimit -n`)\n" if status else ""
    assert done.stderr == wanted


def test_command_exit_is_passed_on():
    def command():
        raise SystemExit(5)

    with pytest.raises(SystemExit):
        exit_status(command)
