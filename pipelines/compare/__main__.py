"""``python -m pipelines.compare CONFIG``: the same as ``weaksup compare CONFIG``."""

from __future__ import annotations

import sys

from weaksup.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
