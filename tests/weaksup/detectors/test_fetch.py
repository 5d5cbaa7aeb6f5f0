"""Weights from a server on this machine, which counts how often it is asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from weaksup.detectors.fetch import fetch

CONTENT = b"weights" * 1000
FETCH = """
import sys
from pathlib import Path
from weaksup.detectors.fetch import fetch
print("ready", flush=True)
sys.stdin.readline()
fetch(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.fixture
def server(forgotten_proxies, monkeypatch):
    """(address, what was asked for)"""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            # Whoever does not wait would ask meanwhile.
            time.sleep(1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100] if self.path == "/cut.pth" else CONTENT)

            if self.path == "/cut.pth":
                self.close_connection = True

        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", asked
        found.shutdown()


def test_of_several_processes_one_fetches(server, tmp_path):
    address, asked = server
    path = tmp_path / "cache" / "some.pth"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, f"{address}/some.pth", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    assert asked == ["/some.pth"]
    assert path.read_bytes() == CONTENT


def test_another_content_is_not_kept(server, tmp_path):
    address, _ = server
    with pytest.raises(RuntimeError, match="hash"):
        fetch(f"{address}/some.pth", tmp_path / "some.pth", hash_prefix="0000")
    assert not (tmp_path / "some.pth").exists()


def test_a_part_is_not_kept(server, tmp_path):
    address, _ = server
    with pytest.raises(OSError, match="100 of 7,000 bytes"):
        fetch(f"{address}/cut.pth", tmp_path / "cut.pth")
    assert not list(tmp_path.glob("cut*"))
