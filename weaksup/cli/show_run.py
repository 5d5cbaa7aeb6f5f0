"""A run in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from weaksup.cli.options import rows
from weaksup.wording import counted

if TYPE_CHECKING:
    from trainer.run import RunDescription


def show_run(out: Console, folder: Path, description: RunDescription) -> dict[str, Any]:
    from trainer.config import changed_settings
    from trainer.evaluate import read_evaluations
    from trainer.history import read_history

    config = description.config
    history = read_history(folder / "metrics.jsonl")
    best = history.best
    changed = changed_settings(config)
    evaluations = read_evaluations(folder)
    rsum = "none was measured"
    if best is not None:
        rsum = f"{best.values['rsum']:.1f}, after epoch {best.epoch + 1}"
    lines = [
        ("model", config.model),
        ("seed", str(config.seed)),
        ("epochs", f"{history.epochs} of {config.epochs}" if config.has_epochs else "none"),
        ("settings", ", ".join(f"{k}={v}" for k, v in changed.items()) or "the defaults"),
        ("best val rsum", rsum),
        ("captions", str(description.captions)),
        ("annotations", str(description.annotations)),
    ]
    lines += [(f"evaluation, {name}", _figures(report)) for name, report in evaluations.items()]
    rows(out, f"run {folder}", lines)
    if not evaluations:
        out.print("not evaluated yet: `weaksup evaluate`", markup=False, highlight=False)
    return {
        "folder": str(folder.resolve()),
        "config": config.model_dump(mode="json"),
        "epochs": history.epochs,
        "best_val_rsum": None if best is None else best.values["rsum"],
        "best_epoch": None if best is None else best.epoch,
        "evaluations": evaluations,
    }


def _figures(report: dict[str, Any]) -> str:
    ways = [
        f"{name} {'/'.join(f'{report[way][at]:.1f}' for at in ('R@1', 'R@5', 'R@10'))}"
        for name, way in (("i2t", "image_to_text"), ("t2i", "text_to_image"))
    ]
    return f"rsum {report['rsum']:.1f}, {', '.join(ways)} on {counted(report['images'], 'image')}"
