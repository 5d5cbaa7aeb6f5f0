"""``CONFIG.yaml`` and ``CONFIG.yaml,FILE``: detectron2's models as one option says them."""

from __future__ import annotations

import re

SUFFIXES = (".yaml", ".yml")
_BOTH = re.compile(r"(?P<config>.+?\.ya?ml)(,(?P<file>.+))?")


def split_weights(text: str) -> tuple[str, str | None]:
    """The configuration, and the weights file if one is named.

    A text that names no YAML file is one part, whatever it is.
    """
    match = _BOTH.fullmatch(text)
    return (match["config"], match["file"]) if match else (text, None)
