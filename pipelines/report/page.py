"""The report as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report.charts import Line, line_chart
from pipelines.report.collect import Evaluated, Report, own_captions
from pipelines.report.thumbnails import Thumbnails
from trainer.history import History
from trainer.queries import Extremes, Query
from weaksup import __version__
from weaksup.wording import counted, decimals

TEMPLATE = "report.html.j2"
RECALLS = ("R@1", "R@5", "R@10")
# What each loss asks for; docs/method.md has the equations.
LOSSES = {
    "total": "The sum that training lowers, each term with its weight.",
    "gold": "Annotated images and their captions shall find one another.",
    "weak": "Un-annotated images and the words that the detector found in them shall find one "
    "another.",
    "pseudo": "Images, annotated or not, shall be as like the captions as a linear model, fitted "
    "before, holds them to be.",
    "adversarial_visual": "Discriminators tell annotated from un-annotated images; the network "
    "shall leave them no difference to see.",
    "adversarial_textual": "Discriminators tell captions from the detector's words; the network "
    "shall leave them no difference to see.",
}


def render(report: Report, *, folders: Sequence[Path]) -> str:
    """One HTML file that needs no other.

    Args:
        report: what is told.
        folders: where pictures are looked for; those that are gone are named instead.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counted"] = counted
    environment.globals["decimals"] = decimals
    thumbnails = Thumbnails(folders)
    evaluated = report.evaluated
    content = {
        "report": report,
        "version": __version__,
        "directions": _directions(evaluated),
        "charts": _charts(report.history),
        "text_queries": _sides(evaluated.text_queries, evaluated, thumbnails, by_text=True),
        "image_queries": _sides(evaluated.image_queries, evaluated, thumbnails, by_text=False),
        "suggestions": _suggestions(report, thumbnails),
    }
    return environment.get_template(TEMPLATE).render(
        **content, missing=len(thumbnails.missing), folders=[str(folder) for folder in folders]
    )


def _directions(evaluated: Evaluated) -> list[dict[str, Any]]:
    """A row each: recalls with their intervals, and ranks."""
    result = evaluated.result
    rows = []
    for name, key, metrics in (
        ("text to image", "text_to_image", result.text_to_image),
        ("image to text", "image_to_text", result.image_to_text),
    ):
        recalls = [
            {"name": at, "value": metrics[at], "interval": evaluated.intervals[key][at]}
            for at in RECALLS
        ]
        rows.append({"name": name, "recalls": recalls, **metrics})
    return rows


def _charts(history: History) -> list[dict[str, Any]]:
    """Curves, by what there is in the history."""
    best = history.best
    charts: list[dict[str, Any]] = []

    def add(title: str, note: str, chart: Markup) -> None:
        if chart:
            charts.append({"title": title, "note": note, "svg": chart})

    rated = [event for event in history.validations if "rsum" in event.values]
    epochs = [event.epoch + 1 for event in rated]
    add(
        "Validation rsum",
        "After each epoch; the dot is the epoch whose weights are kept.",
        line_chart(
            [Line("rsum", epochs, [event.values["rsum"] for event in rated])],
            title="Validation rsum by epoch",
            x_label="epoch",
            mark=None if best is None else (best.epoch + 1, best.values["rsum"]),
            whole_x=True,
        ),
    )
    if len(history.steps) < 2:
        return charts if len(rated) > 1 else []
    accuracies = [
        Line(name, *history.series(f"accuracy/{key}"))
        for name, key in (("images", "visual"), ("texts", "textual"))
    ]
    add(
        "Accuracy of the discriminators",
        "At 0.5 they cannot tell the annotated from the un-annotated part.",
        line_chart(
            accuracies,
            title="Accuracy of the discriminators by step",
            x_label="step",
            level=(0.5, "cannot tell"),
        ),
    )
    names = dict.fromkeys(
        name for event in history.steps for name in event.values if name.startswith("loss/")
    )
    for name in sorted(names, key=lambda name: name != "loss/total"):
        term = name.removeprefix("loss/")
        short = term.replace("_", ", ")
        title = "Loss, all terms" if term == "total" else f"Loss: {short}"
        line = Line(short, *history.series(name))
        # An objective of one's own has terms that only its author can explain.
        chart = line_chart([line], title=f"{title}, by step", x_label="step")
        add(title, LOSSES.get(term, ""), chart)
    return charts


def _sides(
    extremes: Extremes, evaluated: Evaluated, thumbnails: Thumbnails, *, by_text: bool
) -> list[dict[str, Any]]:
    show = _text_query if by_text else _image_query
    return [
        {"name": name, "queries": [show(query, evaluated, thumbnails) for query in queries]}
        for name, queries in (("Best", extremes.best), ("Worst", extremes.worst))
    ]


def _text_query(query: Query, evaluated: Evaluated, thumbnails: Thumbnails) -> dict[str, Any]:
    own = evaluated.image_ids[evaluated.caption_image[query.query]]
    return {
        "text": evaluated.captions[query.query],
        "rank": query.rank,
        "own": _picture(own, thumbnails),
        "results": [
            {
                **_picture(evaluated.image_ids[place], thumbnails),
                "score": score,
                "right": right,
            }
            for place, score, right in zip(query.results, query.scores, query.right, strict=True)
        ],
    }


def _image_query(query: Query, evaluated: Evaluated, thumbnails: Thumbnails) -> dict[str, Any]:
    return {
        "rank": query.rank,
        "own": _picture(evaluated.image_ids[query.query], thumbnails),
        "own_captions": own_captions(evaluated, query.query),
        "results": [
            {"text": evaluated.captions[place], "score": score, "right": right}
            for place, score, right in zip(query.results, query.scores, query.right, strict=True)
        ],
    }


def _picture(image: str, thumbnails: Thumbnails) -> dict[str, str]:
    return {"id": image, "uri": thumbnails(image)}


def _suggestions(report: Report, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    if report.annotated is None:
        return []
    return [
        {**_picture(image, thumbnails), "reason": reason}
        for image, reason in report.annotated.suggestions.items()
    ]
