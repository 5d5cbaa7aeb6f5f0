"""``weaksup doctor``: what this machine has, what it lacks, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.json_file import json_option, write_json
from weaksup.cli.options import in_workspace, stderr, stdout, workspace_option
from weaksup.cli.process import keeps_others_out
from weaksup.doctor.finding import Finding
from weaksup.errors import MissingDependencyError
from weaksup.workspace import Workspace

_STYLES = {"ok": "green", "missing": "yellow", "broken": "red", "outdated": "red"}


@click.command("doctor")
@json_option("what was found")
@workspace_option
def command(json_file: Path | None, workspace_folder: Path | None) -> None:
    """Check packages, data and the workspace's file system, and say what mends them.

    Every package is imported, in a process of its own: one that is broken is reported, too. Ends
    with exit code 4 if something is missing that weaksup cannot do without.

    \b
    Examples:
      weaksup doctor
      weaksup doctor --workspace /mnt/share/photos
      weaksup doctor --json /dev/stdout | jq '.findings[] | select(.state != "ok")'
    """
    from weaksup.doctor.packages import check_packages
    from weaksup.doctor.place import check_place
    from weaksup.doctor.requirements import read_needs

    out = stdout()
    workspace = Workspace.open(workspace_folder)
    with stderr().status("importing packages"):
        findings = [
            *check_packages(read_needs()),
            *check_place(workspace.folder, excludes=keeps_others_out),
        ]
    lacking = [finding for finding in findings if finding.needed and not finding.fine]
    out.print(_table(findings, workspace))
    _print_commands(out, "needed:", lacking)
    _print_commands(
        out, "optional:", [each for each in findings if not each.needed and not each.fine]
    )
    if json_file is not None:
        content = {"complete": not lacking, "findings": [asdict(each) for each in findings]}
        write_json(json_file, content)
        out.print(f"written: {json_file}", markup=False, highlight=False)
    if lacking:
        names = ", ".join(finding.name for finding in lacking)
        raise MissingDependencyError(
            f"weaksup cannot work here: {names}",
            "do what stands under `needed:`, and run `weaksup doctor` again",
        )
    out.print(in_workspace(_next(workspace), workspace_folder), markup=False, highlight=False)


def _table(findings: Sequence[Finding], workspace: Workspace) -> Table:
    title = Text(f"this machine, and {workspace.folder}", style="table.title")
    table = Table("", "", "found", "for", title=title, title_justify="left")
    for heading, needed in (("needed", True), ("optional", False)):
        table.add_section()
        table.add_row("", Text(heading, style="bold"))
        for finding in (each for each in findings if each.needed == needed):
            # Messages of others' errors may hold brackets, which rich would read as markup.
            table.add_row(
                Text(finding.state, style=_STYLES[finding.state]),
                Text(finding.name),
                Text(finding.found, overflow="fold"),
                Text(finding.purpose),
            )
    return table


def _print_commands(out: Console, title: str, findings: Sequence[Finding]) -> None:
    """The commands alone, one a line, so that they can be copied."""
    with_commands = [finding for finding in findings if finding.mend]
    if not with_commands:
        return
    out.print(title, style="bold")
    for finding in with_commands:
        out.print(f"  {finding.name}", markup=False, highlight=False)
        for line in finding.mend.splitlines():
            out.print(f"    {line}", markup=False, highlight=False)


def _next(workspace: Workspace) -> str:
    if not workspace.regions.exists():
        return "next: weaksup extract --images DIR"
    if not workspace.annotations.exists():
        return "next: weaksup subsample"
    trained = any(workspace.runs.glob("*/model.safetensors"))
    return "next: weaksup evaluate" if trained else "next: weaksup train"
