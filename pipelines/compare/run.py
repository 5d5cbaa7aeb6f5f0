"""The comparison, from its file to tables and plots. Read top to bottom: ``compare`` is the recipe.

``reports/compare/NAME/`` of the workspace then holds ``results.jsonl``, ``results.md``, plots, and
``cells/`` with a run folder each.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipelines.compare.config import Comparison
from pipelines.compare.data import ComparisonData, Source
from pipelines.compare.ledger import Ledger
from pipelines.compare.plan import Cell, plan_cells
from pipelines.compare.results import Done, discard_run, write_results
from pipelines.compare.standing import Undone
from pipelines.compare.summary import Summary, summarize
from pipelines.compare.table import duration, make_markdown, make_sheets
from pipelines.compare.workers import Outcome, Task, run_here, run_in_processes
from trainer.device import check_device
from trainer.live import LiveView
from trainer.logging import Logger
from trainer.settings import SettingsError
from trainer.train import Plan
from weaksup.cli.process import alone_in
from weaksup.errors import MissingDependencyError, UsageError, UserError
from weaksup.files import write_atomically
from weaksup.wording import counted

MOST_LETTERS = 20  # that a note names
RESULTS, TABLES, CELLS = "results.jsonl", "results.md", "cells"
UNBROKEN = 200
NO_PLOT = (
    "no plot is drawn: a line needs a label with two ratios or more, a bar a variant beside its "
    "plain model"
)


@dataclass(frozen=True)
class Options:
    """How a comparison is run; nothing here changes a figure.

    Attributes:
        only: labels whose cells are run; empty for all. Tables show everything that is done.
        jobs: cells at a time.
        discard_runs: keep no weights of a cell that is done.
        plots: draw them.
    """

    only: tuple[str, ...] = ()
    jobs: int = 1
    discard_runs: bool = False
    plots: bool = True


def compare(
    comparison: Comparison,
    *,
    regions: Path,
    captions: Path,
    folder: Path,
    options: Options,
    out: Console,
    notices: Console,
) -> None:
    """Run what is not done yet, and show everything that is.

    Args:
        comparison: what is compared.
        regions: the region store.
        captions: the captions file.
        folder: of the results, made if need be.
        options: how it is run.
        out: for the tables.
        notices: for everything else.

    Raises:
        UserError: if the data do not fit; or, after all results are written, if a cell could not
            be trained or matplotlib is missing.
        KeyboardInterrupt: on a signal; the same call goes on.
    """
    comparison.check_labels(options.only)
    source = Source(regions, captions, comparison.hold_out, comparison.test_split)
    data = ComparisonData.load(source)
    data.check_protocols(comparison)
    for note in data.notes:
        notices.print(f"note: {note}", markup=False, highlight=False)
    cells = plan_cells(comparison)
    hint = "give the file another `name`"
    with alone_in(folder, doing="comparing in", hint=hint):
        ledger = Ledger(cells, data, protocols=comparison.protocols, folder=folder / CELLS)
        failures = _run(ledger, comparison, source, data, folder, options, notices)
        done = ledger.done
        if options.discard_runs:
            for item in done:
                discard_run(item.folder)
        write_results(folder / RESULTS, done)
        failures += _show(comparison, data, done, len(cells), folder, options, out, notices)
    for failure in failures[:-1]:
        notices.print(f"error: {failure.message}", markup=False, highlight=False)
    if failures:
        raise failures[-1]


def _run(
    ledger: Ledger,
    comparison: Comparison,
    source: Source,
    data: ComparisonData,
    folder: Path,
    options: Options,
    notices: Console,
) -> list[UserError]:
    """Run the cells that are wanted and not done; what could not be trained comes back."""
    tasks = _tasks(ledger, options, notices)
    _check_devices(tasks)
    failures: list[UserError] = []
    number = 0

    def report(outcome: Outcome) -> None:
        nonlocal number
        number += 1
        if outcome.error is None:
            result = _result(ledger.update(outcome.task.cell))
        else:
            result = f"could not be trained: {outcome.error.message}"
            failures.append(_of_cell(outcome.error, outcome.task.cell))
        line = f"[{number}/{len(tasks)}] {outcome.task.cell}: {result}"
        notices.print(line, markup=False, highlight=False)
        # After each: whoever looks meanwhile sees what there is.
        write_results(folder / RESULTS, ledger.done)

    def make_loggers(plan: Plan) -> list[Logger]:
        if not notices.is_terminal:
            return []
        view = LiveView(
            notices,
            epochs=plan.epochs,
            total_steps=plan.total_steps,
            start_step=plan.start_step,
            best=plan.best_rsum,
        )
        return [view]

    protocols = comparison.protocols
    if options.jobs > 1 and len(tasks) > 1:
        run_in_processes(tasks, source, jobs=options.jobs, protocols=protocols, report=report)
    else:
        run_here(tasks, data, protocols=protocols, report=report, make_loggers=make_loggers)
    return failures


def _result(found: Done | Undone) -> str:
    """What a cell that was just run came to."""
    if isinstance(found, Done):
        return f"rsum {found.record['rsum']:.1f} ({duration(found.record['seconds'])})"
    return f"not kept, {found.reason}"  # somebody else writes in its folder


def _tasks(ledger: Ledger, options: Options, notices: Console) -> list[Task]:
    """What is wanted and not done; says what will be done again or is left out, and why."""
    wanted = 0
    tasks = []
    for cell, found in ledger.trainings:
        is_wanted = not options.only or cell.label in options.only
        wanted += is_wanted
        if isinstance(found, Done):
            continue
        if is_wanted:
            tasks.append(Task(cell, ledger.place(cell)))
        line = _reason(cell, found, is_wanted)
        if line:
            notices.print(line, markup=False, highlight=False)
    line = counted(wanted, "training")
    before = wanted - len(tasks)
    line += f", {before} of them done before" if before else ""
    notices.print(line, markup=False, highlight=False)
    return tasks


def _reason(cell: Cell, found: Undone, wanted: bool) -> str:
    """What is said of a cell whose files do not count; empty where there is nothing to say."""
    if not found.reason:
        return ""
    if wanted:
        return f"{cell}: done again, {found.reason}"
    again = f"`--only {shlex.quote(cell.label)}` does it again"
    return f"{cell}: left out, {found.reason}; {again}"


def _check_devices(tasks: Sequence[Task]) -> None:
    """Refuse settings that this machine cannot train with before the first of many cells.

    Raises:
        SettingsError: names every label with such settings; its ratios and seeds share them.
    """
    found: dict[str, UsageError] = {}
    for cell in (task.cell for task in tasks):
        try:
            check_device(device=cell.config.device, precision=cell.config.precision)
        except UsageError as error:
            found[cell.label] = error
    if found:
        problems = [f"{label}: {error.message}" for label, error in found.items()]
        raise SettingsError(problems, "; ".join(dict.fromkeys(e.hint for e in found.values())))


def _of_cell(error: UserError, cell: Cell) -> UserError:
    """The same error, saying where."""
    error.message = f"{cell}: {error.message}"
    return error


def _show(
    comparison: Comparison,
    data: ComparisonData,
    done: Sequence[Done],
    planned: int,
    folder: Path,
    options: Options,
    out: Console,
    notices: Console,
) -> list[UserError]:
    """Print and write tables and plots; a missing matplotlib comes back, the rest is there."""
    summaries = [summarize(comparison, done, protocol) for protocol in comparison.protocols]
    # A pipe has no width that a table must fit into.
    tables = out if out.is_terminal else Console(file=out.file, width=UNBROKEN)
    for summary in summaries:
        for sheet in make_sheets(summary):
            tables.print(sheet.rich())
            tables.print()
    notes = [_counted(data)]
    if len(done) < planned:
        notes.append(f"{planned - len(done)} of {counted(planned, 'cell')} not done")
    notes += data.notes
    write_atomically(folder / TABLES, make_markdown(comparison.name, notes, summaries))
    written = [folder / RESULTS, folder / TABLES]
    failures: list[UserError] = []
    if options.plots and done:
        try:
            written += _draw(summaries[0], folder, notices)
        except MissingDependencyError as error:
            failures.append(error)
    for path in written:
        out.print(f"written: {path}", markup=False, highlight=False)
    return failures


def _counted(data: ComparisonData) -> str:
    test = data.test
    captions = sum(len(image.captions) for image in test.images)
    images = f"{counted(len(test.images), 'image')} of {test.name}"
    return f"recall in percent on {images} with {counted(captions, 'caption')}"


def _draw(summary: Summary, folder: Path, notices: Console) -> tuple[Path, ...]:
    from pipelines.compare.plots import draw_plots

    plots = draw_plots(summary, folder)
    if not plots.files:
        notices.print(f"note: {NO_PLOT}", markup=False, highlight=False)
    if plots.lacking:
        letters = "".join(plots.lacking[:MOST_LETTERS])
        letters += "…" if len(plots.lacking) > MOST_LETTERS else ""
        note = (
            f"DejaVu Sans, the plots' font, lacks {letters}: boxes in the .png; the .svg has them"
        )
        notices.print(f"note: {note}", markup=False, highlight=False)
    return plots.files
