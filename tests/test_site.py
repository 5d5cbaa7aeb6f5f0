"""The documentation builds as a site without a warning, and reads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from weaksup.cli import COMMANDS, weaksup

ROOT = Path(__file__).parent.parent
# What a browser fetches by itself; a link is followed by people.
FETCHED = re.compile(
    r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//|<link\b[^>]*\brel="?(?:stylesheet|preconnect)[^>]*//'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_page_of_its_options(site, name):
    page = (site / "commands" / f"{name}.html").read_text(encoding="utf-8")
    command = weaksup.get_command(click.Context(weaksup), name)
    for parameter in command.params:
        for option in parameter.opts:
            assert option in page or not option.startswith("--")


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(COMMANDS)
    for page in pages:
        assert not FETCHED.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_examples(name):
    command = weaksup.get_command(click.Context(weaksup), name)
    assert "Examples:" in command.help
