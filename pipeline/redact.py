"""Passwords stay out of everything that is written for others: reports, parameters, results."""

import re
from typing import Any

_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)")


def without_passwords(value: Any) -> Any:
    """Copy plain JSON values with the password of every `scheme://user:password@host` replaced by `***`."""
    if isinstance(value, str):
        return _PASSWORD.sub(r"\g<before>***", value)
    if isinstance(value, dict):
        return {key: without_passwords(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_passwords(inner) for inner in value]
    return value
