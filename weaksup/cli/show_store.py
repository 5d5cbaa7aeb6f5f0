"""A region store in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.options import rows
from weaksup.errors import DataError
from weaksup.store import readable_ids
from weaksup.wording import counted

if TYPE_CHECKING:
    from weaksup.inspect.summary import StoreSummary
    from weaksup.store import RegionStore


def why_unusable(store: RegionStore) -> DataError | None:
    """What is wrong with a store of which no image could be read, and mends it; or nothing."""
    try:
        readable_ids(store)
    except DataError as error:
        return error
    return None


def store_json(store: RegionStore, summary: StoreSummary) -> dict[str, Any]:
    return {
        "path": str(store.path.resolve()),
        "created": store.created,
        "provenance": asdict(store.provenance),
        **asdict(summary),
    }


def show_store(out: Console, store: RegionStore, summary: StoreSummary) -> None:
    provenance = store.provenance
    least, median, most = summary.per_image
    threshold = store.score_threshold
    words = ", ".join(
        counted(count, kind, _plural(kind)) for kind, count in summary.names.items() if count
    )
    lines = [
        ("images", f"{summary.images:,}"),
        ("unreadable", f"{summary.unreadable:,}"),
        ("nothing found", f"{summary.without_region:,}"),
        ("without a concept", _some(summary.without_concept, summary.without_concept_ids)),
        ("regions", f"{summary.regions:,}, of which {summary.speaking:,} have a concept"),
        ("regions an image", f"{least} / {median:g} / {most} (least / median / most)"),
        ("feature size", f"{summary.feature_size:,}"),
        ("vocabulary", words or "empty"),
        ("detector", f"{provenance.detector}, weights {provenance.weights_sha256[:12]}"),
        ("score threshold", f"{threshold:.2g}"),
        ("features", _features(provenance.settings)),
        ("made", store.created),
    ]
    rows(out, f"store {store.path}", lines)
    for kind, found in summary.frequent.items():
        if not found:
            continue
        note = "the most probable class, of the whole image and of regions"
        title = f"{_plural(kind)}" + (f": {note}" if kind == "class" else "")
        table = Table(kind, title=Text(title, style="table.title"), title_justify="left")
        for name in ("images", "share of images", "regions"):
            table.add_column(name, justify="right")
        for each in found:
            share = each.images / max(summary.images - summary.unreadable, 1)
            # Names are the user's: they may hold brackets, which rich would read as markup.
            table.add_row(Text(each.name), f"{each.images:,}", f"{share:.1%}", f"{each.regions:,}")
        out.print(table)


def _plural(kind: str) -> str:
    return f"{kind}es" if kind == "class" else f"{kind}s"


def _some(count: int, examples: Sequence[str]) -> str:
    return f"{count:,}" + (f", such as {', '.join(examples[:2])}" if examples else "")


def _features(settings: dict[str, Any]) -> str:
    model = settings.get("feature_model")
    if isinstance(model, dict):
        model = model.get("name") or model.get("model")
    return f"of {model}" if model else "the detector's own"
