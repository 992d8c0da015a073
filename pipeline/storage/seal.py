"""The seal of a JSON document: the sha256 of all else that stands in it, so that a changed digit is seen."""

import hashlib
import json
from typing import Any

SEAL = "seal"


def spelled(document: Any) -> str:
    """The one spelling of JSON documents in the store."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n"


def sealed(document: Any) -> Any:
    """The same with its seal, also in the place of an earlier one; only objects have one."""
    return {**document, SEAL: _seal_of(document)} if isinstance(document, dict) else document


def is_sound(document: Any) -> bool:
    """Whether a document that was read is the one that was sealed; one without a seal is an earlier version's."""
    if not isinstance(document, dict) or SEAL not in document:
        return True
    return bool(document[SEAL] == _seal_of(document))


def _seal_of(document: dict[str, Any]) -> str:
    others = {key: value for key, value in document.items() if key != SEAL}
    plain = json.loads(spelled(others))  # what a reader finds: keys and dates are texts
    return hashlib.sha256(spelled(plain).encode()).hexdigest()
