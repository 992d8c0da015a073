import stat

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


def test_complete_keeps_what_stands_there(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# ours\nREDIS_PASSWORD=mine\n")
    complete(file, {"MAX_EPOCHS": "3"})
    before = file.read_text()
    assert read(file)["REDIS_PASSWORD"] == "mine"
    assert read(file)["MAX_EPOCHS"] == "3"
    assert complete(file, {}) == []
    assert file.read_text() == before


def test_read_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(SystemExit, match="make env"):
        read(tmp_path / "nothing")
