"""The worksheet as a page: what is to be described, in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report.thumbnails import Thumbnails
from weaksup import __version__
from weaksup.wording import counted

TEMPLATE = "worksheet.html.j2"
SIDE = 360


def render(
    reasons: Mapping[str, str],
    *,
    strategy: str,
    unannotated: int,
    per_image: int,
    folders: Sequence[Path],
) -> str:
    """One HTML file that needs no other, and has no scripts.

    Args:
        reasons: image -> why it is worth a caption, in order.
        strategy: its name.
        unannotated: among how many images these were chosen.
        per_image: lines to write on.
        folders: where pictures are looked for; those that are gone are named instead.
    """
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent / "report"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = counted
    thumbnails = Thumbnails(folders, side=SIDE)
    items = [
        {"id": image, "uri": thumbnails(image), "reason": reason}
        for image, reason in reasons.items()
    ]
    return environment.get_template(TEMPLATE).render(
        items=items,
        strategy=strategy,
        unannotated=unannotated,
        per_image=per_image,
        missing=len(thumbnails.missing),
        folders=[str(folder) for folder in folders],
        version=__version__,
    )
