"""The ``weaksup`` command, and ``python -m weaksup``.

Light, so that Ctrl-C is handled from the first moment: the command line itself takes a tenth of a
second to load.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line, and run it."""
    try:
        from weaksup.cli import main as run
    except KeyboardInterrupt:
        print("error: interrupted before anything was done", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
