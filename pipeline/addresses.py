"""Secrets stay out of what others may read: addresses, `password=…` and what the environment keeps secret.

An address is read by RFC 3986: `scheme://[user information@]host[:port][/path][?query][#fragment]`. Its user
information is removed as a whole, because a token may stand in either half. An ambiguous address loses all up to its
last `@`.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import ConfigError

HIDDEN = "***"
ESCAPES = "'/' as %2F, '@' as %40, ':' as %3A, '?' as %3F, '#' as %23 and a blank as %20"
"""How separators of an address are written in a user's name or password."""
_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_WORD = re.compile(_START.pattern + r"[^\s\"<>`]*")
"""In prose an address ends at a character that no address may have."""
_SAYS_SECRET = "secret|token|passw|pwd|key|sig|credential|auth"
_PARAMETER = re.compile(rf"(?P<name>[^?&;#=]*(?:{_SAYS_SECRET})[^?&;#=]*)=[^&;#]*", re.IGNORECASE)
_SETTING = re.compile(r"(?P<name>\b\w*(?:secret|token|passw|pwd|credential)\w*)=(?:'[^']*'|[^\s&;,]+)", re.IGNORECASE)
_HEADER = re.compile(r"(?P<name>\b(?:Basic|Bearer)) [A-Za-z0-9+/=._~-]{8,}")
_VARIABLE = re.compile("(SECRET|TOKEN|PASSWORD|SECRET_ACCESS_KEY|API_KEY)$")
_BUCKET = "[a-z0-9._-]*"
_PLACES = {"file": _BUCKET, "s3": _BUCKET, "s3a": _BUCKET, "sqlite": "", "databricks": "[^@]*"}
"""Schemes without credentials, and what stands between `//` and `/`: behind that `@` is a character like any other."""
_SHORTEST = 6
"""Characters of an environment's secret that is looked for in prose: `1` would be found everywhere."""


def without_secrets(value: Any) -> Any:
    """Copy plain JSON values, each text taken for a single setting: from its first `scheme://` on it is one address."""
    if isinstance(value, str):
        start = _START.search(value)
        address = _shown(value[start.start() :]) if start else ""
        return _without_settings(value[: start.start()] if start else value) + address
    if isinstance(value, dict):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner) for inner in value]
    return value


def masked(prose: str, environment: Mapping[str, str] | None = None) -> str:
    """A message without the secrets of the addresses in it, and without those that the environment's names tell of."""
    for name, secret in (environment or {}).items():
        if _VARIABLE.search(name) and len(secret) >= _SHORTEST:
            prose = prose.replace(secret, HIDDEN)
    return _without_settings(_WORD.sub(lambda word: _shown(word[0]), prose))


def require_certain(address: str, key: str) -> None:
    """Raise `ConfigError` for an address that two programs may read differently: one would take a secret for a host."""
    if _read(address) is None:
        raise ConfigError(
            f"{key} is {without_secrets(address)!r}, which is ambiguous; in a user's name or password write {ESCAPES}"
        )


def require_no_credentials(location: str, key: str) -> None:
    """Raise `ConfigError` for credentials in the location of a file or folder."""
    if _START.match(location) and _read(location) is None:
        raise ConfigError(
            f"{key} is {without_secrets(location)!r}; a location may not have credentials: they are read from "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )


def _read(address: str) -> SplitResult | None:
    """The parts of an address; None where a secret may stand in another part than that for it."""
    authority = re.split(r"[/?#]", address.partition("://")[2])[0]
    try:
        parts = urlsplit(address)
        place = _PLACES.get(parts.scheme.partition("+")[0])
        if place is None:
            _ = parts.port  # raises if this is not a number: the first half of a password
    except ValueError:
        return None
    if place is not None:
        return parts if re.fullmatch(place, authority) else None
    blank = any(character.isspace() for character in authority)
    behind = parts.path + parts.query + parts.fragment
    return None if blank or "@" in behind or authority.count("@") > 1 else parts


def _shown(address: str) -> str:
    scheme, _, rest = address.partition("://")
    _, at, behind = rest.rpartition("@")
    if _read(address) is None:
        rest = f"{HIDDEN}{at}{behind if at else ''}"
    elif at and scheme.lower().partition("+")[0] not in _PLACES:
        rest = f"{HIDDEN}@{behind}"
    return f"{scheme}://{_without_parameters(rest)}"


def _without_parameters(rest: str) -> str:
    """What follows the scheme, with the secret parameters of query and fragment emptied."""
    place = re.search(r"[?#]", rest)
    if place is None:
        return rest
    return rest[: place.start()] + _PARAMETER.sub(rf"\g<name>={HIDDEN}", rest[place.start() :])


def _without_settings(prose: str) -> str:
    return _HEADER.sub(rf"\g<name> {HIDDEN}", _SETTING.sub(rf"\g<name>={HIDDEN}", prose))
