"""What happens when a night fails, succeeds or is late: a line in the log, and a message to a webhook where one is set.

`MICROREC_ALERT_WEBHOOK` takes a JSON object with `text`, as chat systems understand it.
"""

import asyncio
import json
import logging
import os
import urllib.request
from typing import Any
from urllib.parse import urlsplit

log = logging.getLogger(__name__)


def task_failed(context: Any) -> None:
    """A task has failed for good."""
    instance = context["task_instance"]
    alert(f"{instance.dag_id} {instance.run_id}: task {instance.task_id} failed: {context.get('exception')}")


def run_failed(context: Any) -> None:
    """A night has ended without a champion of its own."""
    run = context["dag_run"]
    alert(f"{run.dag_id} {run.run_id} failed: {context.get('reason', '')}")


def run_succeeded(context: Any) -> None:
    """A night has ended well: no message is sent."""
    log.info("%s %s succeeded", context["dag_run"].dag_id, context["dag_run"].run_id)


async def deadline_missed(context: dict[str, Any] | None = None, **_: Any) -> None:
    """A night is late; the triggerer runs this."""
    run = (context or {}).get("dag_run", {})
    await asyncio.to_thread(
        alert, f"{run.get('dag_id')} {run.get('dag_run_id')} is late: it still runs at its deadline"
    )


def alert(text: str) -> None:
    """Log a warning and pass it on; a webhook that does not answer never fails a task."""
    log.warning(text)
    address = os.environ.get("MICROREC_ALERT_WEBHOOK")
    if not address:
        return
    request = urllib.request.Request(
        address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except OSError as error:
        # The path of a chat system's webhook is its password.
        log.warning("the alert did not reach %s: %s", urlsplit(address).hostname, error)
