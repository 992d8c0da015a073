import re
import stat
from pathlib import Path

import pytest

from deploy.env_file import PASSWORDS, complete, read


def test_complete_writes_random_secrets_for_the_owner_only(tmp_path):
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        complete(file, {})
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one, two = map(read, files)
    secrets = [*PASSWORDS, "AIRFLOW_FERNET_KEY"]
    assert all(len(one[name]) >= 43 and one[name] != two[name] for name in secrets)
    assert len({one[name] for name in secrets}) == len(secrets)


@pytest.mark.parametrize("whole", [False, True])
def test_complete_takes_an_existing_file_from_other_readers(tmp_path, whole):
    file = tmp_path / ".env"
    file.write_text("REDIS_PASSWORD=mine\n")
    if whole:
        complete(file, {})
    file.chmod(0o644)
    complete(file, {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_complete_keeps_what_stands_there(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# ours\nREDIS_PASSWORD=mine\n")
    complete(file, {"MAX_EPOCHS": "3"})
    before = file.read_text()
    assert read(file)["REDIS_PASSWORD"] == "mine"
    assert read(file)["MAX_EPOCHS"] == "3"
    assert complete(file, {}) == []
    assert file.read_text() == before


def test_every_secret_has_its_holder_and_its_rotation_on_a_page():
    docs = Path(__file__).parents[2] / "docs"
    holders, rotation = ((docs / page).read_text() for page in ("explanation/security.md", "how-to/rotate-secrets.md"))
    for name in (*PASSWORDS, "AIRFLOW_FERNET_KEY"):
        family = re.sub("(PIPELINE|MLFLOW)_(ACCESS|SECRET)_KEY", r"\1_*", name) if name.startswith("S3_") else name
        assert f"`{family}`" in holders, name
        assert f"`{name}`" in rotation, name


def test_read_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(SystemExit, match="make env"):
        read(tmp_path / "nothing")
