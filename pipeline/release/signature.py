"""Who published a release or an increment: a signature (Ed25519, RFC 8032) over the document that has the sha256 of
every file.

Digests show damage. A person who can write the store can write digests, too, but cannot sign them without the key.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upath import UPath

from pipeline.errors import ConfigError, DamagedError, InputError
from pipeline.release.manifest import MANIFEST
from pipeline.storage.files import is_absence, publish_bytes, read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


@dataclass(frozen=True)
class Kind:
    """What is signed."""

    document: str
    """The file that has the sha256 of the others."""
    signature: str
    """The file of the signature: base64, one line."""
    purpose: bytes
    """Signed with the digest, so that a signature made for something else is none of this."""
    mend: str
    """How to come by a signed one."""


SIGNATURE = "manifest.sig"
RELEASE = Kind(
    MANIFEST,
    SIGNATURE,
    b"microrec release 1\n",
    "If it is yours, delete it and make it again with export.signing_key; otherwise take one that is signed",
)
MAKE_KEY = "openssl genpkey -algorithm ed25519 -out release.pem"
MAKE_PUBLIC = "openssl pkey -in release.pem -pubout -out release.pub"


def read_signing_key(file: Path) -> "Ed25519PrivateKey":
    """The private key in a PEM file.

    Raises `ConfigError` where there is none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"export.signing_key: {file} cannot be read as a key; make one with `{MAKE_KEY}`") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"export.signing_key: {file} is not an Ed25519 key; make one with `{MAKE_KEY}`")
    return key


def read_public_keys(files: Iterable[Path], named: str = "export.public_keys") -> "list[Ed25519PublicKey]":
    """The public keys in PEM files; raises `InputError` where one has none."""
    return [read_public_key(file, named) for file in files]


def read_public_key(file: Path, named: str) -> "Ed25519PublicKey":
    """The public key in a PEM file; raises `InputError` that says what `named` the file, where it holds none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{named}: {file} cannot be read as a key; make one with `{MAKE_PUBLIC}`") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{named}: {file} is not an Ed25519 key; make one with `{MAKE_KEY}` and `{MAKE_PUBLIC}`")
    return key


def require_own_key(private: "Ed25519PrivateKey", public: "Sequence[Ed25519PublicKey]") -> None:
    """Raise `ConfigError` where what a key signs would be refused by all of these."""
    own = private.public_key().public_bytes_raw()
    if own not in [key.public_bytes_raw() for key in public]:
        raise ConfigError(
            "export.signing_key: its public key is not in export.public_keys, so no release that it signs could "
            f"become champion; add the one that `{MAKE_PUBLIC}` writes"
        )


def sign(folder: UPath, key: "Ed25519PrivateKey", kind: Kind = RELEASE) -> None:
    """Sign what is about to be published."""
    signature = key.sign(_message(kind, read_bytes(folder / kind.document)))
    publish_bytes(folder / kind.signature, base64.b64encode(signature) + b"\n")


def require_signed(folder: UPath, keys: "Sequence[Ed25519PublicKey]", kind: Kind = RELEASE) -> str:
    """sha256 of the document that the owner of one of the keys has signed as it is.

    Raises `DamagedError` if none has.
    """
    document = read_bytes(folder / kind.document)
    require_signature(folder, document, keys, kind)
    return hashlib.sha256(document).hexdigest()


def require_signature(folder: UPath, document: bytes, keys: "Sequence[Ed25519PublicKey]", kind: Kind) -> None:
    """Raise `DamagedError` unless the owner of one of the keys has signed `document`, as it was read there."""
    try:
        signature = base64.b64decode(read_bytes(folder / kind.signature), validate=False)
    except OSError as error:
        if not is_absence(error):
            raise
        raise DamagedError(f"{folder} is not signed: it has no {kind.signature}. {kind.mend}") from error
    except binascii.Error:
        signature = b""
    if not any(_is_by(key, signature, _message(kind, document)) for key in keys):
        raise DamagedError(
            f"{folder}: {kind.signature} is not a signature of this {kind.document} by a trusted key. "
            "Restore it from a copy, or name the signer's public key; ask who writes to this store"
        )


def _is_by(key: "Ed25519PublicKey", signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _message(kind: Kind, document: bytes) -> bytes:
    return kind.purpose + hashlib.sha256(document).hexdigest().encode()
