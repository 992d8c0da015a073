"""A release that is signed, altered, or signed by another."""

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from upath import UPath

from pipeline.errors import ConfigError, DamagedError, InputError
from pipeline.opening import check
from pipeline.release.manifest import MANIFEST, manifest_sha256
from pipeline.release.signature import SIGNATURE, read_public_keys, read_signing_key, require_signed, sign
from pipeline.release.verify import check_release
from pipeline.storage.files import local_path, read_json, write_json
from tests.commands import microrec
from tests.pipeline.release_factory import make_config, make_run


def write_pair(folder, name, kind=Ed25519PrivateKey):
    """Files of a private and a public key."""
    key = kind.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_run(make_config(tmp_path_factory.mktemp("published"), database=False), "r1").store.release("r1")


@pytest.fixture
def release(published, tmp_path):
    """A copy, signed by `ours`."""
    copy = tmp_path / "store" / "releases" / "r1"
    shutil.copytree(local_path(published), copy)
    private, _ = write_pair(tmp_path, "ours")
    sign(UPath(str(copy)), read_signing_key(private))
    return UPath(str(copy))


def test_signed_release_verifies_with_its_key(release, tmp_path):
    assert require_signed(release, read_public_keys([tmp_path / "ours.pub"])) == manifest_sha256(release)
    check_release(release)


def test_signature_of_one_of_several_keys_is_enough(release, tmp_path):
    _, other = write_pair(tmp_path, "theirs")
    require_signed(release, read_public_keys([other, tmp_path / "ours.pub"]))


def test_signature_of_another_key_is_refused(release, tmp_path):
    _, public = write_pair(tmp_path, "theirs")
    with pytest.raises(DamagedError, match=r"is not a signature of this manifest\.json by a trusted key"):
        require_signed(release, read_public_keys([public]))


@pytest.mark.parametrize("content", [b"", b"x", b"AAAA", b"\xff\xfe"])
def test_signature_that_is_none_is_refused(release, tmp_path, content):
    (release / SIGNATURE).write_bytes(content)
    with pytest.raises(DamagedError, match=r"is not a signature of this manifest\.json by a trusted key"):
        require_signed(release, read_public_keys([tmp_path / "ours.pub"]))


def test_release_that_is_not_signed_is_refused(release, tmp_path):
    (release / SIGNATURE).unlink()
    with pytest.raises(DamagedError, match=r"is not signed: it has no manifest\.sig"):
        require_signed(release, read_public_keys([tmp_path / "ours.pub"]))


def test_manifest_that_was_changed_consistently_verifies_by_digests_and_not_by_signature(release, tmp_path):
    write_json(release / MANIFEST, {**read_json(release / MANIFEST), "created": "2"})
    check_release(release)
    with pytest.raises(DamagedError, match=r"is not a signature of this manifest\.json by a trusted key"):
        require_signed(release, read_public_keys([tmp_path / "ours.pub"]))


def test_verify_command_asks_for_the_signature(release, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.registry.audit.audit_release", lambda store, tracking, checked, keys: checked)
    monkeypatch.setattr("pipeline.config.config.Config.open_tracking", lambda *_, **__: None)
    (tmp_path / "microrec.toml").write_text(
        "[catalogue]\nitems = 'i.parquet'\ninteractions = ['x.parquet']\n[store]\nroot = 'store'\n"
    )
    _, theirs = write_pair(tmp_path, "theirs")
    command = ["verify", "r1", "-c", tmp_path / "microrec.toml", "--public-key"]
    done = microrec(*command, tmp_path / "ours.pub")
    assert done.returncode == 0, done.stderr
    refused = microrec(*command, theirs)
    assert refused.returncode == 2
    assert "manifest.sig is not a signature of this manifest.json by a trusted key" in refused.stderr
    absent = microrec(*command, tmp_path / "absent.pub")
    assert absent.returncode == 2
    assert "--public-key: " in absent.stderr


@pytest.mark.parametrize(("name", "status"), [("ours", 0), ("theirs", 2)])
def test_verify_command_asks_for_the_keys_that_are_configured(release, tmp_path, monkeypatch, name, status):
    monkeypatch.setattr("pipeline.registry.audit.audit_release", lambda store, tracking, checked, keys: checked)
    monkeypatch.setattr("pipeline.config.config.Config.open_tracking", lambda *_, **__: None)
    write_pair(tmp_path, "theirs")
    (tmp_path / "microrec.toml").write_text(
        "[catalogue]\nitems = 'i.parquet'\ninteractions = ['x.parquet']\n[store]\nroot = 'store'\n"
        f"[export]\npublic_keys = ['{name}.pub']\n"
    )
    done = microrec("verify", "r1", "-c", tmp_path / "microrec.toml")
    assert done.returncode == status, done.stderr


@pytest.mark.parametrize("make", ["absent", "text", "kind"])
def test_key_that_cannot_be_used_is_told_with_the_command_that_makes_one(tmp_path, make):
    private, public = write_pair(tmp_path, "key", X25519PrivateKey)
    if make == "text":
        private.write_text("no key")
        public.write_text("no key")
    elif make == "absent":
        private, public = tmp_path / "none", tmp_path / "none"
    with pytest.raises(ConfigError, match="openssl genpkey -algorithm ed25519"):
        read_signing_key(private)
    with pytest.raises(InputError, match=r"export\.public_keys: .*openssl"):
        read_public_keys([public])


def test_run_with_a_missing_key_is_refused_before_it_begins(tmp_path):
    config = make_config(tmp_path, database=False, export={"signing_key": "none.pem"})
    with pytest.raises(ConfigError, match=r"export.signing_key: .*none.pem cannot be read"):
        check(config, config.open_store())


@pytest.mark.parametrize(
    ("signing", "public", "problem"),
    [
        ("ours.pem", ["theirs.pub"], "its public key is not in export.public_keys"),
        (None, ["ours.pub"], "export.signing_key is not"),
        ("ours.pem", ["none.pub"], "export.public_keys: .*none.pub cannot be read"),
        ("ours.pem", ["theirs.pub", "ours.pub"], None),
        ("ours.pem", [], None),
    ],
)
def test_run_that_could_not_become_champion_by_its_keys_is_refused_before_it_begins(tmp_path, signing, public, problem):
    for name in ("ours", "theirs"):
        write_pair(tmp_path, name)
    config = make_config(tmp_path, database=False, export={"signing_key": signing, "public_keys": public})
    if problem is None:
        check(config, config.open_store())
        return
    with pytest.raises(InputError, match=problem):
        check(config, config.open_store())
