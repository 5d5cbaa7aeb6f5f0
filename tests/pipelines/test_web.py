"""The page's application with a real run of generated scenes, asked as a browser asks."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra 'app' is not installed")

from starlette.testclient import TestClient

from pipelines.scenes import write_scenes
from pipelines.web import app as web
from pipelines.web.app import make_app
from pipelines.web.library import Library
from trainer.index import build_index, write_index
from trainer.run import load_run
from weaksup.cli import main
from weaksup.store import open_store

PAGE = Path(web.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    write_scenes(folder / "scenes", count=40, seed=3)
    workspace = ["--workspace", str(folder / "w")]
    tiny = ("epochs=1", "embed_size=16", "batch_size=8", "min_count=1", "device=cpu")
    for words in (
        ["extract", "--images", str(folder / "scenes/images"), "--detector", "demo"],
        ["subsample", "--ratio", "0.5"],
        ["train", "--name", "r", *(word for item in tiny for word in ("--set", item))],
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, *workspace])
        assert end.value.code == 0
    return folder


@pytest.fixture(scope="module")
def library(folder):
    run = load_run(folder / "w/runs/r")
    index = write_index(build_index(run, open_store(run.regions)), run)
    return Library(run, index, folders=[folder / "scenes/images"], files=[])


@pytest.fixture(scope="module")
def client(library):
    return TestClient(make_app(library), base_url="http://127.0.0.1")


def test_a_sentence_finds_what_the_run_finds(client, library):
    found = client.get("/api/search", params={"q": "a red star", "top": 4}).json()
    assert [hit["image"] for hit in found["results"]] == [
        hit.image for hit in library.run.search("a red star", top=4)
    ]
    for hit in found["results"]:
        assert library.index.ids[hit["place"]] == hit["image"]
    assert client.get("/api/search", params={"q": "xyzzy"}).json()["unknown"] == ["xyzzy"]
    assert len(client.get("/api/search", params={"q": "a", "top": "9999"}).json()["results"]) == 40


def test_pictures_come_by_their_place_and_small(client, library, folder):
    for url, side in (("/thumbnail/3.jpg", 360), ("/picture/3.jpg", 1600)):
        answer = client.get(url)
        assert answer.headers["content-type"] == "image/jpeg"
        with (
            Image.open(io.BytesIO(answer.content)) as picture,
            Image.open(folder / "scenes/images" / library.index.ids[3]) as original,
        ):
            assert max(picture.size) <= side
            assert picture.size == original.size
            difference = np.asarray(picture, float) - np.asarray(original, float)
            assert np.abs(difference).mean() < 10


@pytest.mark.parametrize(
    "url",
    [
        *("/picture/40.jpg", "/picture/-1.jpg", "/thumbnail/x.jpg", "/api/image/40"),
        *("/picture/../app.py", "/thumbnail/%2e%2e%2fapp.py", "/page.html", "/app.py"),
        *("/api/like/999999999999999999999", "/etc/passwd", "//etc/passwd"),
    ],
)
def test_nothing_else_is_served(client, url):
    answer = client.get(url)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_other_names_of_this_machine_are_not_answered(client):
    assert client.get("/api/about", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/api/about", headers={"host": "localhost:8000"}).status_code == 200


def test_the_regions_and_what_the_network_makes_of_them(client, library):
    seen = client.get("/api/image/3", params={"q": "a star"}).json()
    store = open_store(library.run.regions)
    regions = store.regions(store.index(seen["image"]))
    assert len(seen["regions"]) == len(regions)
    assert sum(region["weight"] for region in seen["regions"]) == pytest.approx(1, abs=1e-4)
    assert all(-1 <= region["fit"] <= 1 for region in seen["regions"])
    assert seen["regions"][0]["name"] == "whole image"
    for region, thing, score in zip(
        seen["regions"][1:], regions.objects[1:], regions.scores[1:], strict=True
    ):
        sure = score >= store.score_threshold
        assert region["name"] == (store.objects[thing] if sure else "region")
    silent = client.get("/api/image/3").json()
    assert all(region["fit"] is None for region in silent["regions"])


def test_a_new_picture_is_read_and_found(client, folder, library):
    content = (folder / "scenes/images" / library.index.ids[7]).read_bytes()
    answer = client.post(
        "/api/picture?top=3", content=content, headers={"content-type": "image/jpeg"}
    )
    assert answer.status_code == 200
    assert answer.json()["results"][0]["place"] == 7
    assert answer.json()["captions"]


def test_an_image_of_the_index_is_not_like_itself(client):
    found = client.get("/api/like/7", params={"top": 39}).json()
    assert {hit["place"] for hit in found["results"]} == {*range(40)} - {7}
    assert found["captions"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no picture", "image/png", 422),
        (b"", "image/png", 400),
        (b"x", "text/plain", 415),
    ],
)
def test_uploads_that_are_no_pictures(client, content, kind, status):
    answer = client.post("/api/picture", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]


def test_uploads_are_limited_whatever_they_say_of_their_length(client, monkeypatch):
    monkeypatch.setattr(web, "UPLOAD_BYTES", 1000)

    def parts():
        for _ in range(20):
            yield b"x" * 100

    for content in (b"x" * 1001, parts()):
        answer = client.post("/api/picture", content=content, headers={"content-type": "image/png"})
        assert answer.status_code == 413


@pytest.mark.parametrize("query", ["", "?q=%20", "?q=" + "a" * 1001, "?q=a&top=x"])
def test_wrong_searches(client, query):
    assert client.get(f"/api/search{query}").status_code == 400


def test_a_picture_that_is_gone_and_a_store_that_was_made_again(folder, library, client):
    elsewhere = Library(library.run, library.index, folders=[folder / "w"], files=[])
    other = TestClient(make_app(elsewhere), base_url="http://127.0.0.1")
    assert other.get("/thumbnail/0.jpg").status_code == 422
    assert "was not found" in other.get("/thumbnail/0.jpg").json()["error"]


def test_the_page_loads_nothing_from_elsewhere_and_names_everything(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    # Before anything is asked it says both ways to ask.
    assert re.search(
        r'<p id="status"[^>]*>Type a sentence.* drop, paste or choose a picture', page.text
    )
    text = html.unescape(page.text)
    for name in ("page.html", "page.css", "page.js"):
        assert not re.findall(r"https?:|//[a-z]+\.|@import|url\(", (PAGE / name).read_text())
    # Script that wrote markup could be made to write another's.
    script = client.get("/page.js").text
    assert "innerHTML" not in script
    assert "insertAdjacentHTML" not in script
    assert not re.findall(r"\son\w+=|style=", text)
    for tag in re.findall(r"<img[^>]*>", text):
        assert "alt=" in tag
    # What the number beside a result means, and the whole of a name that is cut.
    assert re.search(r'<p id="score"[^>]*>Score: the cosine.* negative: only the order', page.text)
    assert re.search(r'"card", type: "button", title: hit\.image', script)
    assert re.search(r'"aria-label", `[^`]*\$\{hit\.image\}', script)
    used = {*re.findall(r'\$\("([\w-]+)"\)', script)}
    assert used <= {*re.findall(r'id="([\w-]+)"', text)}
