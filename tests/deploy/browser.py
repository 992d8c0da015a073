"""Headless Chromium through the WebDriver protocol: pages as an operator sees them."""

import base64
import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1600,1000",
)  # fmt: skip

PATIENCE = 600
"""Seconds until a page must be there: on a machine that is busy, minutes."""


class Browser:
    """One window; use it as a context manager."""

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._base = f"http://127.0.0.1:{port}"
        self.wait(lambda: self._call("GET", "/status")["ready"], PATIENCE)
        chrome = {"args": [*OPTIONS, f"--user-data-dir={self._profile.name}"]}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}})
        self._base += f"/session/{session['sessionId']}"
        return self

    def __exit__(self, *_):
        self._call("DELETE", "")
        self._driver.terminate()
        self._driver.wait(timeout=30)
        self._profile.cleanup()

    def _call(self, method, path, body=None):
        request = urllib.request.Request(
            self._base + path,
            None if method != "POST" else json.dumps(body or {}).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]

    def open(self, address, *texts, without="", seconds=PATIENCE):
        """Open a page and wait until it shows all the texts, and no longer the one that stands there meanwhile."""
        self._call("POST", "/url", {"url": address})
        self.wait(lambda: all(text in self.text() for text in texts), seconds)
        self.wait(lambda: not without or without not in self.text(), seconds)

    def click(self, label):
        """Press the button of that label."""
        self.run(f"document.querySelector('button[aria-label^=\"{label}\"]').click()")

    def remember(self, name, value):
        """Put a choice of the user's into what pages of this address remember."""
        self.run(f"localStorage.setItem('{name}', '{value}')")

    def text(self):
        return self.run("return document.body ? document.body.innerText : ''")

    def run(self, script):
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def set_cookie(self, name, value):
        self._call("POST", "/cookie", {"cookie": {"name": name, "value": value, "path": "/"}})

    def save(self, path: Path):
        """Write a screenshot."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, self.text()[:2000]
            time.sleep(0.5)
