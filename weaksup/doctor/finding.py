"""What was found of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "broken", "outdated"]


@dataclass(frozen=True)
class Finding:
    """One thing that weaksup needs or can use.

    Attributes:
        name: of the thing.
        needed: whether there is no work without it.
        purpose: what it is for.
        state: ``ok``; ``missing``; ``broken``, there but of no use; ``outdated``, of a version
            that does not fit.
        found: its version, or what is wrong.
        mend: the commands that put it right, a line each; empty where there is nothing to do.
    """

    name: str
    needed: bool
    purpose: str
    state: State
    found: str
    mend: str = ""

    @property
    def fine(self) -> bool:
        return self.state == "ok"
