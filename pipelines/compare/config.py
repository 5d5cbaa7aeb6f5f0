"""The file that says what is compared: TOML to a checked ``Comparison``, all errors at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import tomli_w
from pydantic import Field, field_validator

from trainer.config import MODEL_NAMES, ModelName, TrainConfig, load_config
from trainer.evaluate import ProtocolName
from trainer.settings import (
    Layer,
    Section,
    SettingsError,
    check_values,
    combine,
    flatten,
    list_settings,
    parse_overrides,
    read_toml,
)
from weaksup.errors import UsageError, did_you_mean

CONFIGS = Path(__file__).parent.parent / "configs"
PACKAGED = ("flickr8k", "flickr8k-baselines", "flickr30k", "coco")
HINT = "mend the file; docs/compare.md describes every key"
MAX_SEED = 2**32 - 1
# Settings that are not for `set`, and what gives them.
TAKEN = {"seed": "`seeds`", "model": "`models` or the variant's `model`"}

S = TypeVar("S", bound=Section)

Protocol = Literal["full", "folds-1k"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


class VariantSection(Section):
    """A ``[[variant]]`` table."""

    label: str = Field(default="", description="as tables and plots name it")
    model: ModelName = Field(default="a3vse", description="what is trained")
    set: dict[str, Any] = Field(default={}, description="settings as `train --set` takes them")
    ratios: tuple[float, ...] = Field(default=(), description="in place of the file's")
    seeds: tuple[int, ...] = Field(default=(), description="in place of the file's")

    @field_validator("ratios", mode="before")
    @classmethod
    def _ratios(cls, ratios: Any) -> Any:
        return _check_ratios(ratios)

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, seeds: Any) -> Any:
        return _check_seeds(seeds)


class ComparisonSection(Section):
    """The whole file."""

    name: str = Field(default="", description="of the results' folder; the file's name if empty")
    models: tuple[str, ...] = Field(default=(), description="models with their own settings")
    variant: tuple[dict[str, Any], ...] = Field(default=(), description="models with others")
    set: dict[str, Any] = Field(default={}, description="settings of every model")
    ratios: tuple[float, ...] = Field(default=(0.2,), description="shares of annotated images")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), description="of subsampling and training")
    reference: str = Field(default="", description="label that the others are compared with")
    test_split: Literal["test", "val"] = Field(default="test", description="what is reported")
    hold_out: int = Field(default=0, ge=0, description="training images that serve as val")
    protocols: tuple[str, ...] = Field(default=("full",), description="of the evaluation")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if name and (name in (".", "..") or Path(name).name != name):
            raise ValueError(f"{name!r} is no folder name")
        return name

    @field_validator("ratios", mode="before")
    @classmethod
    def _ratios(cls, ratios: Any) -> Any:
        if ratios in ([], ()):
            raise ValueError("at least one ratio is needed")
        return _check_ratios(ratios)

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, seeds: Any) -> Any:
        if seeds in ([], ()):
            raise ValueError("at least one seed is needed")
        return _check_seeds(seeds)

    @field_validator("protocols")
    @classmethod
    def _protocols(cls, protocols: tuple[str, ...]) -> tuple[str, ...]:
        _check_known(protocols, PROTOCOLS, kind="protocol")
        _check_once(protocols)
        return protocols

    @field_validator("models")
    @classmethod
    def _models(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        _check_known(models, MODEL_NAMES, kind="model")
        _check_once(models)
        return models


@dataclass(frozen=True)
class Variant:
    """One line of the tables.

    Attributes:
        label: as tables and plots name it; unique.
        config: every setting; the seed is that of a cell.
        changed: the settings that the file gives this variant alone; empty for the plain model.
        ratios: shares of the training images that keep their captions.
        seeds: of subsampling and training.
    """

    label: str
    config: TrainConfig
    changed: Mapping[str, Any]
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def model(self) -> ModelName:
        return self.config.model


@dataclass(frozen=True)
class Comparison:
    """What a file asks for.

    Attributes:
        name: of the results' folder.
        variants: in the order of the tables; labels are unique.
        reference: label that others are compared with; empty for the best baseline at each ratio.
        test_split: ``test``, or ``val`` where that is reported.
        hold_out: how many training images serve as val; 0 for the corpus' own val.
        protocols: of the evaluation; the first is the one that plots show.
    """

    name: str
    variants: tuple[Variant, ...]
    reference: str
    test_split: str
    hold_out: int
    protocols: tuple[ProtocolName, ...]

    def check_labels(self, labels: Iterable[str]) -> None:
        """Refuse labels that no variant has.

        Raises:
            UsageError: names the nearest known one.
        """
        known = [variant.label for variant in self.variants]
        for label in labels:
            if label not in known:
                nearest = did_you_mean(label, known)
                raise UsageError(
                    f"no variant has the label '{label}'" + (f"; {nearest}" if nearest else ""),
                    f"labels: {'; '.join(known)}",
                )


def find_config(given: str) -> Path:
    """A file, or one of the packaged comparisons by its name.

    Raises:
        UsageError: if there is neither.
    """
    path = Path(given)
    if path.is_file():
        return path
    if given in PACKAGED:
        return CONFIGS / f"{given}.toml"
    nearest = did_you_mean(given, PACKAGED)
    wrong = "it is a folder" if path.is_dir() else "there is no such file"
    raise UsageError(
        f"{given}: {wrong}" + (f"; {nearest}" if nearest else ""),
        f"name a TOML file, or one that comes with weaksup: {', '.join(PACKAGED)}",
    )


def load_comparison(path: Path) -> Comparison:
    """Read and check a file.

    Raises:
        UsageError: if it cannot be read.
        SettingsError: with everything that is wrong in it.
    """
    content = read_toml(path, hint=HINT)
    problems: list[str] = []
    section = _combine(ComparisonSection, Layer(path.name, content), problems)
    # Of what could not be understood the rest is checked all the same.
    shared = _flat(content.get("set"))
    wrong = _wrong_values(shared, "set")
    if wrong:
        problems += wrong
        shared = {}  # wrong for every variant: said once
    drafts = [
        _draft(table, Layer(path.name, table), where, problems) for where, table in _tables(content)
    ]
    apart: dict[str, list[str]] = {}
    configs = [_settings(draft, shared, problems, apart) for draft in drafts]
    problems += [f"{problem} ({', '.join(labels)})" for problem, labels in apart.items()]
    problems += _disagreements(content, [draft.label for draft in drafts])
    if problems or section is None:
        raise SettingsError(problems, HINT)
    return Comparison(
        name=section.name or path.stem,
        variants=tuple(
            Variant(
                draft.label,
                config,
                draft.changed,
                draft.ratios or section.ratios,
                draft.seeds or section.seeds,
            )
            for draft, config in zip(drafts, configs, strict=True)
            if config is not None  # else there was a problem
        ),
        reference=section.reference,
        test_split=section.test_split,
        hold_out=section.hold_out,
        protocols=cast(tuple[ProtocolName, ...], section.protocols),
    )


def _tables(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The plain models, then the variants: where and what; what is no table has been reported."""
    models, variants = content.get("models"), content.get("variant")
    plain = [m for m in models if m in MODEL_NAMES] if isinstance(models, list) else []
    tables = enumerate(variants if isinstance(variants, list) else [], start=1)
    return [
        *((f"model {model}", {"label": model, "model": model}) for model in dict.fromkeys(plain)),
        *((f"variant {number}", table) for number, table in tables if isinstance(table, dict)),
    ]


@dataclass(frozen=True)
class _Draft:
    """What can be told of a variant, wrong or not."""

    label: str
    model: ModelName | None
    changed: Mapping[str, Any]
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]


def _draft(table: Mapping[str, Any], layer: Layer, where: str, problems: list[str]) -> _Draft:
    label, model = table.get("label", ""), table.get("model")
    found: list[str] = []
    section = _combine(VariantSection, layer, found)
    problems += [f"{where}: {problem}" for problem in found]
    if not label:
        problems.append(f"{where}: label is missing")
    return _Draft(
        label if isinstance(label, str) and label else where,
        section.model if section else model if model in MODEL_NAMES else None,
        _flat(table.get("set")),
        section.ratios if section else (),
        section.seeds if section else (),
    )


def _flat(values: Any) -> dict[str, Any]:
    return flatten(TrainConfig, values) if isinstance(values, dict) else {}


def _combine(schema: type[S], layer: Layer, problems: list[str]) -> S | None:
    """The section, or None with its problems added."""
    try:
        return combine(schema, [layer])
    except SettingsError as error:
        problems += error.problems
        return None


def _settings(
    draft: _Draft,
    shared: Mapping[str, Any],
    problems: list[str],
    apart: dict[str, list[str]],
) -> TrainConfig | None:
    """The training settings of a variant, or None with their problems added.

    Args:
        draft: the variant.
        shared: settings of all variants, over which its own are laid.
        problems: of its values one by one; each says where it stands.
        apart: of values that do not fit one another: problem -> labels of the variants.
    """
    values, source = {**shared, **draft.changed}, f"set of {draft.label}"
    wrong = _taken(values, source)
    problems += wrong
    try:
        config = load_config(
            model=draft.model, file=None, overrides=_overrides(values), source=source
        )
    except SettingsError as error:
        placed = [problem for problem in error.problems if f"({source})" in problem]
        problems += placed
        for problem in error.problems:
            if problem not in placed:
                apart.setdefault(problem, []).append(draft.label)
        return None
    return None if wrong else config


def _wrong_values(values: Mapping[str, Any], source: str) -> list[str]:
    """What is wrong with settings by themselves, of whichever model they are."""
    layer = Layer(source, parse_overrides(TrainConfig, _overrides(values)))
    return [*_taken(values, source), *check_values(TrainConfig, layer)]


def _taken(values: Mapping[str, Any], source: str) -> list[str]:
    """What is wrong with settings that other keys of the file give."""
    return [
        f"{key} ({source}): it comes from {where}" for key, where in TAKEN.items() if key in values
    ]


def _overrides(values: Mapping[str, Any]) -> dict[str, str]:
    """All other settings, as ``load_config`` takes them."""
    return {key: _text(value) for key, value in values.items() if key not in TAKEN}


def _text(value: Any) -> str:
    """A value as ``--set KEY=`` takes it."""
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def _disagreements(content: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """What is wrong only beside something else in the file."""
    problems = []
    if not content.get("models") and not content.get("variant"):
        problems.append("nothing is compared: name `models`, or give `[[variant]]` tables")
    folders: dict[str, str] = {}
    for place, label in enumerate(labels):
        other = folders.setdefault(slug(label), label)
        if label in labels[:place]:
            problems.append(f"label '{label}' is given twice")
        elif other != label:
            problems.append(f"labels '{other}' and '{label}' would have the same folder")
    reference = content.get("reference")
    if isinstance(reference, str) and reference and reference not in labels:
        nearest = did_you_mean(reference, labels)
        problems.append(
            f"reference '{reference}' is no label" + (f"; {nearest}" if nearest else "")
        )
    return problems


def slug(label: str) -> str:
    """A label as a part of a folder's name: ``a3vse, no adversary`` is ``a3vse-no-adversary``."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.") or "-"


def _check_ratios(ratios: Any) -> Any:
    return _check_items(ratios, _wrong_ratio)


def _check_seeds(seeds: Any) -> Any:
    return _check_items(seeds, _wrong_seed)


def _check_items(values: Any, wrong: Callable[[Any], str]) -> Any:
    """Tell all items of a list or a tuple that are wrong; anything else its type refuses.

    Types are checked here, too: beside an item of a wrong one pydantic says nothing of the others.
    """
    if not isinstance(values, list | tuple):
        return values
    problems = [f"{value!r} {problem}" for value in values if (problem := wrong(value))]
    if problems:
        raise ValueError("; ".join(problems))
    _check_once(values)
    # Strict checks take a list for a tuple from JSON itself, and not from a validator.
    return tuple(values)


def _wrong_ratio(ratio: Any) -> str:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        return "is no number"
    return "" if 0 < ratio <= 1 else "is not over 0 and up to 1"


def _wrong_seed(seed: Any) -> str:
    if isinstance(seed, bool) or not isinstance(seed, int):
        return "is no integer"
    return "" if 0 <= seed <= MAX_SEED else f"is not from 0 up to {MAX_SEED}"


def _check_known(given: Sequence[str], known: Sequence[str], *, kind: str) -> None:
    for name in given:
        if name not in known:
            nearest = did_you_mean(name, known)
            raise ValueError(
                f"unknown {kind} '{name}': expected one of {', '.join(known)}"
                + (f"; {nearest}" if nearest else "")
            )


def _check_once(values: Sequence[Any]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} is there twice")


def describe_keys() -> list[tuple[str, str, str]]:
    """Key, default and meaning of everything that a file may hold, variants last."""
    return [
        (prefix + setting.key, setting.default, setting.description)
        for prefix, schema in (("", ComparisonSection), ("variant.", VariantSection))
        for setting in list_settings(schema)
    ]
