import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from microrec_alerts import alert, deadline_missed


@pytest.fixture
def webhook(monkeypatch):
    """A real server in the chat system's place; yields what it was told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MICROREC_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
        yield told
        server.shutdown()


def test_deadline_missed_tells_the_webhook_which_night_is_late(webhook):
    asyncio.run(deadline_missed({"dag_run": {"dag_id": "microrec_nightly", "dag_run_id": "x"}}))
    assert webhook == [{"text": "microrec_nightly x is late: it still runs at its deadline"}]


def test_alert_webhook_that_does_not_answer_is_a_line_in_the_log(monkeypatch, caplog):
    monkeypatch.setenv("MICROREC_ALERT_WEBHOOK", "http://127.0.0.1:9/secret?token=1")
    alert("something")
    assert "did not reach 127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert "token=1" not in caplog.text
