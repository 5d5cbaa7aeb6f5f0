"""The documents' links, settings, commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from trainer.config import MODEL_DEFAULTS, TrainConfig
from weaksup.cli import weaksup
from weaksup.detectors.install import DETECTRON2

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def slugs(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in slugs(file), f"{page.name} links to {target}"


def commands(page):
    for _, block in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.removeprefix("$ ").split("#")[0]
            if words.startswith("weaksup "):
                yield shlex.split(words)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    for name, *words in commands(page):
        if name.startswith("-"):
            continue
        command = weaksup.get_command(click.Context(weaksup), name)
        assert command is not None, f"{page.name}: weaksup {name}"
        known = {"--help"} | {option for p in command.params for option in p.opts}
        unknown = {word for word in words if word.startswith("--")} - known
        assert not unknown, f"{page.name}: weaksup {name} {unknown}"


def settings(section, prefix=""):
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from settings(type(default), f"{prefix}{name}.")
        else:
            shown = str(default).lower() if isinstance(default, bool) else default
            yield f"| `{prefix}{name}` | {shown} | {field.description} |"


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | {value} |"


def test_every_setting_is_described():
    lines = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").splitlines()
    described = {line for line in lines if line.startswith("| `")}
    # No line for what is gone, either.
    expected = {*settings(TrainConfig), *flat(MODEL_DEFAULTS["vse-infty"])}
    assert described == expected
    # What the text above the table says of others.
    own = {"lr": 1e-3, "batch_size": 64, "loss": {"negatives": "all"}}
    assert {"lr": 1e-3, **MODEL_DEFAULTS["vsepp"]} == {**MODEL_DEFAULTS["vse-infty"], **own}
    assert MODEL_DEFAULTS["cca"] == {"hubness": {"weight": 0.0}}


def test_the_error_and_the_document_install_detectron2_alike():
    blocks = [block for _, block in FENCE.findall((ROOT / "docs/detectron2.md").read_text("utf-8"))]
    assert f"{DETECTRON2}\n" in blocks
