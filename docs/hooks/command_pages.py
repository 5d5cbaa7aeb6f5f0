"""A page a command, made from the command line itself whenever the site is built."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from weaksup.cli import COMMANDS, weaksup

FOLDER = "commands"
# Not in the folder, where index.md is the page of `weaksup index`.
OVERVIEW = "commands.md"
NAV = f"{FOLDER}/"
ABOVE = click.Context(weaksup, info_name="weaksup")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages where the navigation names their folder."""
    pages = [{"All commands": OVERVIEW}, *({name: f"{FOLDER}/{name}.md"} for name in COMMANDS)]

    def filled(item: object) -> object:
        if isinstance(item, list):
            return [filled(each) for each in item]
        if isinstance(item, dict):
            return {name: filled(each) for name, each in item.items()}
        return pages if item == NAV else item

    config.nav = filled(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page a command, and one that lists them."""
    files.append(File.generated(config, OVERVIEW, content=overview()))
    for name in COMMANDS:
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=page(name)))
    return files


def overview() -> str:
    """All commands, in the order in which they are needed."""
    lines = [
        f"| [`weaksup {name}`]({FOLDER}/{name}.md) | {text} |" for name, text in COMMANDS.items()
    ]
    return "\n".join(
        [
            "# Commands",
            "",
            "These pages are what `weaksup COMMAND --help` says.",
            "",
            *("| command | what it does |", "|---|---|"),
            *lines,
            "",
        ]
    )


def page(name: str) -> str:
    """What ``--help`` says of a command, as Markdown."""
    command = weaksup.get_command(ABOVE, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=ABOVE)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        f"# weaksup {name}",
        f"```\n{usage}\n```",
        *_prose(inspect.cleandoc(command.help or "")),
        "## Options",
        "\n".join(["| option | meaning |", "|---|---|", *_options(command, context)]),
    ]
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; one that click leaves as it is, behind a backspace, is a block of code."""
    for paragraph in text.split("\n\n"):
        if not paragraph.startswith("\b\n"):
            yield _marked(paragraph)
            continue
        title, *lines = paragraph.removeprefix("\b\n").splitlines()
        yield f"**{title}**" if title.endswith(":") else f"```\n{title}\n```"
        if lines:
            yield f"```\n{inspect.cleandoc(chr(10).join(lines))}\n```"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            option, text = record
            yield f"| `{option}` | {_marked(text)} |"


def _marked(text: str) -> str:
    """Names of options and angle brackets as code: Markdown would read them as its own."""
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)", r"`\1`", text.replace("<", "&lt;"))
