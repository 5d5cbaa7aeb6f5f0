"""The command line: one thin file a command. Nothing else imports click.

Commands are imported when they are called, so that ``weaksup --help`` loads neither torch nor
spaCy.
"""

from __future__ import annotations

import importlib
import keyword
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any

import click

from weaksup import __version__
from weaksup.errors import DataError, UserError, did_you_mean

# click says what was typed in its message alone.
_MISTYPED = re.compile(r"^(?:No such command )?'(.*?)'(?: is not one of .*|\.)$", re.DOTALL)

# name -> what it does, in the order in which a user needs them. The text stands here, and not
# only in the command's own file, because listing it must not import that file.
COMMANDS = {
    "extract": "Detect regions and concepts in a folder of images.",
    "subsample": "Choose which images keep their gold captions.",
    "train": "Train a retrieval model on what the workspace holds.",
    "evaluate": "Report Recall@K in both directions.",
    "compare": "Train models over ratios and seeds; table and plots.",
    "export": "Write regions and captions for other tools.",
    "import": "Make a region store of features that others have extracted.",
    "index": "Embed all images, to search in them.",
    "search": "Find the images that fit a sentence, or another image.",
    "serve": "Search on a local page, with sentences and pictures.",
    "concepts": "Show the concept vocabulary, with counts.",
    "report": "Write a run as one HTML file, with examples and what to annotate next.",
    "suggest": "Say which images to write captions for next, as a worksheet.",
    "inspect": "Show what a region store or a run holds, and draw an image of it.",
    "doctor": "Check what this machine has, and say what mends it.",
    "demo": "Run the whole job on generated pictures, offline.",
}

# Interrupted, these go on from where they were; the others leave nothing half done.
RESUMABLE = ("extract", "train", "compare", "import", "demo")

EXIT_DATA = DataError.exit_code
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # No module can be called `import`.
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"weaksup.cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="weaksup")
def weaksup() -> None:
    """Text-image retrieval from a folder of images and captions for some of them.

    \b
    The usual order, in one folder:
      weaksup extract --images DIR
      weaksup subsample --ratio 0.2
      weaksup train
      weaksup evaluate
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every end has its exit code and no end has a traceback.

    ``--debug`` (anywhere on the line) shows the traceback of an error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    sys.exit(_run(words, debug=debug))


def _run(words: list[str], *, debug: bool) -> int:
    try:
        result: Any = weaksup.main(args=words, prog_name="weaksup", standalone_mode=False)
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _fail(error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # Of processes that a launcher has started here, one says it; the launcher ends that one
            # with the first that ends, so it gets a moment.
            time.sleep(2.0)
            return error.exit_code
        if isinstance(error, click.NoSuchOption) and error.ctx.command is weaksup:  # type: ignore[union-attr]
            return _fail(error.format_message(), _after_command(error, words), error.exit_code)
        usage = isinstance(error, click.UsageError) and error.ctx is not None
        hint = f"see `{error.ctx.command_path} --help`" if usage else ""  # type: ignore[attr-defined]
        return _fail(error.format_message(), f"{_nearest(error)} {hint}".strip(), error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        if words and words[0] in RESUMABLE:
            return _fail(
                "interrupted; what was done so far is kept",
                "run the same command again to go on from there",
                EXIT_INTERRUPTED,
            )
        return _fail("interrupted", "", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`| head`) has left: nothing is wrong, and nobody listens.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # What the commands foresee is a UserError long before: this is a disk or a folder.
        if debug:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename is not None else ""
        return _fail(
            f"{place}{error.strerror or error}",
            "make room, mend the permissions, or name another place, and run the same command "
            "again; --debug shows what was being done",
            EXIT_DATA,
        )
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(
            f"unexpected {type(error).__name__}: {error}",
            "this is a defect of weaksup: please report it with the output of the same command "
            "and --debug",
            1,
        )
    return result if isinstance(result, int) else 0


def _after_command(error: click.NoSuchOption, words: list[str]) -> str:
    """Where an option belongs that stands before the command, with the line that has it there."""
    for place, name in enumerate(words):
        command = weaksup.get_command(click.Context(weaksup), name) if name in COMMANDS else None
        if command is None:
            continue
        known = {option for each in command.params for option in each.opts}
        before = [word.partition("=")[0] for word in words[:place] if word.startswith("-")]
        if all(option in known for option in before):
            line = shlex.join(["weaksup", name, *words[:place], *words[place + 1 :]])
            return f"{error.option_name} belongs after the command: {line}"
    return "options belong after the command; see `weaksup --help` and `weaksup COMMAND --help`"


def _nearest(error: click.ClickException) -> str:
    """What was meant by a mistyped command or value of a choice, as a question; or nothing."""
    mistyped = _MISTYPED.search(error.message)
    if mistyped is None:
        return ""
    known: Iterable[str] = COMMANDS
    if isinstance(error, click.BadParameter):
        kind = error.param.type if error.param is not None else None
        known = map(str, kind.choices) if isinstance(kind, click.Choice) else ()
    return did_you_mean(mistyped[1], known)


def _fail(message: str, hint: str, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
    return code
