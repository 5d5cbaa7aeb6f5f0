from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from weaksup.cli import main

pytest.importorskip("starlette", reason="the extra 'app' is not installed")


@pytest.fixture
def indexed(prepared, capsys):
    for words in (["train", "--model", "cca", "--set", "min_count=1"], ["index"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    capsys.readouterr()
    return prepared


def test_it_serves_until_it_is_stopped(indexed):
    command = [sys.executable, "-m", "weaksup.cli", "serve", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    try:
        assert "serving 24 images" in server.stdout.readline()
        line = server.stdout.readline()
        address = line.split("open ")[1].split()[0]
        assert address.startswith("http://127.0.0.1:")
        # Not urlopen, whose opener remembers the proxies of whatever called it first.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{address}/api/search?q=dark+cat", timeout=60) as answer:
            found = json.load(answer)
        assert len(found["results"]) == 24
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
        assert (server.returncode, out) == (0, "")
        assert "error" not in err
    finally:
        server.kill()
        server.wait()


def failed(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    return end.value.code, *capsys.readouterr()


def test_a_port_that_is_taken(indexed, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = failed(capsys, "serve", "--port", port)
    assert code == 2
    assert f"port {port} cannot be had" in err
    assert "--port" in err


def test_without_an_index_it_says_how_to_make_one(prepared, capsys):
    assert failed(capsys, "train", "--model", "cca", "--set", "min_count=1")[0] == 0
    code, _, err = failed(capsys, "serve")
    assert code == 3
    assert "run `weaksup index` first" in err


def test_without_the_extra_it_says_how_to_install_it(indexed, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = failed(capsys, "serve")
    assert code == 4
    assert "pip install 'weaksup[app]'" in err
