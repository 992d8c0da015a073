"""Health check: exits with 0 when the address answers and, with a second argument, that component is healthy."""

import json
import sys
import urllib.request


def main(url: str, component: str | None = None) -> int:
    """Ask once; `component` is a key of Airflow's health document."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        body = answer.read()
    return 0 if component is None or json.loads(body)[component]["status"] == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
