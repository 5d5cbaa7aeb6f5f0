"""Weights from a server on this machine, which counts how often it is asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from weaksup.detectors.fetch import fetch

CONTENT = b"weights" * 1000
FETCH = """
import sys
from pathlib import Path
from weaksup.detectors.fetch import fetch
print("ready", flush=True)
sys.stdin.readline()
fetch(sys.argv[1], Path(sys.argv[2]), hash_prefix=sys.argv[3] or None)
"""


@pytest.fixture
def answering():
    """While it is not set, the server says nothing."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def server(forgotten_proxies, monkeypatch, answering):
    """(address, what was asked for)"""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            # Whoever does not wait would ask meanwhile.
            time.sleep(1)
            answering.wait(120)
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


def begin(url, path, *, hash_prefix=""):
    """A process that is about to fetch a file."""
    worker = subprocess.Popen(
        [sys.executable, "-c", FETCH, url, str(path), hash_prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout.readline() == "ready\n"
    return worker


def go(worker):
    worker.stdin.write("go\n")
    worker.stdin.flush()


def until(condition):
    for _ in range(12_000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it has not come to that")


def test_of_several_processes_one_fetches(server, tmp_path):
    address, asked = server
    path = tmp_path / "cache" / "some.pth"
    workers = [begin(f"{address}/some.pth", path) for _ in range(2)]
    for worker in workers:
        go(worker)
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    assert asked == ["/some.pth"]
    assert path.read_bytes() == CONTENT


def test_who_waits_for_a_file_of_another_hash_does_not_ask_for_it_again(
    server, answering, tmp_path
):
    address, asked = server
    url, path = f"{address}/some.pth", tmp_path / "some.pth"
    lock = tmp_path / ".some.pth.lock"
    waiting = begin(url, path, hash_prefix="0000")
    answering.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(fetch, url, path, hash_prefix="0000")
        until(lambda: asked)
        go(waiting)
        files = Path(f"/proc/{waiting.pid}/fd")
        until(lambda: any(file.resolve() == lock for file in files.iterdir()))
        time.sleep(0.2)  # from opening the lock to waiting for it
        answering.set()
        with pytest.raises(RuntimeError, match="invalid hash value"):
            first.result()
    _, err = waiting.communicate(timeout=120)
    assert err.splitlines()[-1].startswith('RuntimeError: invalid hash value (expected "0000"')
    assert asked == ["/some.pth"]
    assert not path.exists()
    # Whoever comes later does ask.
    fetch(url, path)
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
