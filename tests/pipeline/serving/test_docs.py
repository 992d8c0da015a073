"""The services of docs/how-to/serve.md run as written."""

import json
import re
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from pipeline.storage.files import read_json, write_json
from tests.pipeline.release_factory import make_config, make_run
from tests.servers import free_ports

PAGE = Path(__file__).parents[3] / "docs/how-to/serve.md"


def block(beginning):
    """The Python block of the page that begins so."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (one for one in blocks if one.startswith(beginning))
    return found


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a champion, in the environment as the page has it."""
    run = make_run(make_config(tmp_path, database=False), "r1")
    digest = read_json(run.store.release("r1") / "manifest.json")["release_digest"]
    record = {"run_id": "r1", "digest": digest, "model_name": "m", "model_version": "1", "previous": None}
    write_json(run.store.champion, record)
    monkeypatch.setenv("STORE", str(run.store.root))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.mark.integration
def test_docs_fastapi_service_answers(store):
    import uvicorn

    names = {"__name__": "service"}
    exec(compile(block("# FastAPI"), str(PAGE), "exec"), names)
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(names["app"], host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/users/user-0?k=3", timeout=30) as answer:
            rows = json.loads(answer.read())
    finally:
        server.should_exit = True
        thread.join(30)
    assert [(row["rank"], row["user_id"], row["source"]) for row in rows] == [
        (rank, "user-0", "user") for rank in (1, 2, 3)
    ]


def test_docs_ray_deployment_answers_with_a_stand_in_for_ray(store, monkeypatch):
    """Ray is not installed here: only what the class itself does is run."""
    import asyncio
    import sys
    import types

    def deployment(**_):
        def keep(kind):
            kind.bind = classmethod(lambda cls, *arguments: cls(*arguments))
            return kind

        return keep

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(serve=types.SimpleNamespace(deployment=deployment)))
    names = {"__name__": "service"}
    exec(compile(block("# Ray Serve"), str(PAGE), "exec"), names)

    class Asked:
        async def json(self):
            return [{"history": ["item-3"]}, {"user_id": "user-1"}]

    rows = asyncio.run(names["deployment"](Asked()))
    assert {(row["request"], row["source"]) for row in rows} == {(0, "history"), (1, "user")}
