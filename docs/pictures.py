"""The tutorial's pictures, made by the commands that it shows.

    python docs/pictures.py mine

``mine`` is the folder that the commands of docs/tutorial.md have made. Needs Chromium, which
photographs the pages; writes ``docs/images/tutorial-*``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image

OUT = Path(__file__).parent / "images"
IMAGE = "00/00006.jpg"
SENTENCE = "a violet tree is right of a crimson kite on a lawn"
QUERY = "a big yellow star in the night sky"
RUN = "a3vse"
COLOURS = 128


def weaksup(*words: str, folder: Path) -> None:
    """Run a command as the tutorial does, in the folder of photographs and captions."""
    command = [sys.executable, "-m", "weaksup.cli", *words]
    subprocess.run(command, cwd=folder, check=True)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of ``weaksup serve``, for as long as the block."""
    command = [sys.executable, "-m", "weaksup.cli", "serve", "--run", RUN, "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if line.startswith("next: open "))
            yield line.split()[2]
        finally:
            server.terminate()


def photograph(url: str, path: Path, *, size: tuple[int, int], dark: bool = False) -> None:
    """A page as Chromium shows it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is needed: apt install chromium")
    subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--hide-scrollbars"),
            *(["--force-dark-mode"] if dark else []),
            f"--window-size={size[0]},{size[1]}",
            "--virtual-time-budget=20000",
            f"--screenshot={path}",
            url,
        ],
        check=True,
        capture_output=True,
    )


def publish(picture: Path, name: str, *, width: int = 960) -> None:
    """Save it in few colours, at most so wide."""
    with Image.open(picture) as opened:
        image = opened.convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
    path = OUT / f"tutorial-{name}.png"
    image.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"written: {path} ({path.stat().st_size // 1024} KB)")


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description="Make the tutorial's pictures.")
    parser.add_argument("folder", type=Path, help="that the tutorial's commands have made")
    folder = parser.parse_args().folder.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.png"
        weaksup("inspect", "--image", IMAGE, "--picture", str(made), folder=folder)
        publish(made, "inspect")
        words = ("inspect", "--image", IMAGE, "--run", RUN, "--text", SENTENCE)
        weaksup(*words, "--picture", str(made), folder=folder)
        publish(made, "attention")
        page = Path(scratch) / "report.html"
        weaksup("report", "--run", RUN, "--out", str(page), folder=folder)
        photograph(page.as_uri(), made, size=(1200, 860))
        publish(made, "report")
        with served(folder) as address:
            for name, dark in (("search", False), ("search-dark", True)):
                url = f"{address}/#{quote(QUERY)}"
                photograph(url, made, size=(1200, 760), dark=dark)
                publish(made, name)
        weaksup("compare", "recall.toml", folder=folder)
        drawn = folder / "weaksup-workspace/reports/compare/recall"
        shutil.copyfile(drawn / "recall-over-ratio-text-to-image.svg", OUT / "tutorial-recall.svg")


if __name__ == "__main__":
    main()
