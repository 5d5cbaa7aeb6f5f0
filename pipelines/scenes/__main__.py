"""``python -m pipelines.scenes DIR``: generated scenes laid out as people keep photographs."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pipelines.scenes.write import write_folder

SETTINGS = Path(__file__).parents[1] / "configs" / "demo.toml"


def main() -> None:
    """Write ``DIR/photos``, ``DIR/captions.csv`` and settings that suit them, ``DIR/demo.toml``."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.scenes",
        description="Generate pictures with captions: DIR/photos/, DIR/captions.csv, and "
        "DIR/demo.toml, settings of `weaksup train` that take minutes.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="made anew")
    parser.add_argument("--scenes", type=int, default=1200, help="pictures; 1200 by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.scenes < 1:
        parser.error("--scenes: at least 1")
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} is there already: name another folder")
    captions = write_folder(arguments.folder, count=arguments.scenes, seed=arguments.seed)
    settings = shutil.copyfile(SETTINGS, arguments.folder / SETTINGS.name)
    for path in (arguments.folder / "photos", captions, settings):
        print(f"written: {path}")


if __name__ == "__main__":
    main()
