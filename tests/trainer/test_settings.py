from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, model_validator

from trainer.settings import (
    Layer,
    Section,
    check_values,
    combine,
    list_settings,
    parse_overrides,
    parse_value,
)
from weaksup.errors import UsageError


class Inner(Section):
    width: int = Field(default=3, ge=1, le=8, description="how wide")
    shared: float = Field(default=0.5, gt=0, lt=1, description="in both")


class Other(Section):
    shared: float = Field(default=0.5, description="in both")
    sizes: tuple[int, ...] = Field(default=(1, 2), description="several")


class Schema(Section):
    kind: Literal["plain", "fancy"] = Field(default="plain", description="which")
    flag: bool = Field(default=False, description="whether")
    rate: float = Field(default=1e-05, ge=0, description="how fast")
    inner: Inner = Inner()
    other: Other = Other()

    @model_validator(mode="after")
    def _fancy_is_wide(self) -> Schema:
        if self.kind == "fancy" and self.inner.width < 2:
            raise ValueError("kind = fancy needs inner.width of at least 2")
        return self


def problems(*layers):
    with pytest.raises(UsageError) as error:
        combine(Schema, [Layer(f"source {n}", values) for n, values in enumerate(layers)])
    first, *lines = error.value.message.splitlines()
    return first, [line.strip() for line in lines], error.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("bf16", "bf16"),
        ("cuda:0", "cuda:0"),
        ("", ""),
        ("1\nb = 2", "1\nb = 2"),
    ],
)
def test_values_are_read_as_toml_and_else_as_text(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_later_layers_win_setting_by_setting():
    config = combine(
        Schema,
        [
            Layer("a", {"rate": 1.0, "inner": {"width": 4, "shared": 0.1}}),
            Layer("b", {"inner": {"width": 5}}),
            Layer("c", {"other.sizes": [7]}),
        ],
    )
    assert (config.rate, config.inner.width, config.inner.shared) == (1.0, 5, 0.1)
    assert config.other.sizes == (7,)


def test_a_leaf_stands_for_its_key_where_it_is_the_only_one():
    assert parse_overrides(Schema, {"width": "2", "kind": "fancy", "other.shared": "1"}) == {
        "inner.width": 2,
        "kind": "fancy",
        "other.shared": 1,
    }


def test_everything_that_is_wrong_is_reported_at_once():
    first, lines, hint = problems(
        {"kind": "fany", "wdth": 3, "inner": {"width": 0, "depth": 1, "shared": 1}},
        {"flag": 1, "inner": {"width": 9}, "other": 5, "rate": float("nan")},
        {"shared": 0.5, "zzz": "x" * 200},
    )
    assert first == "10 settings are wrong:"
    assert lines == [
        "wdth = 3 (source 0): unknown; did you mean 'inner.width'?",
        "inner.depth = 1 (source 0): unknown; did you mean 'inner.width'?",
        "other = 5 (source 1): a section, not a setting: its settings are other.NAME",
        "shared = 0.5 (source 2): in several sections: name one of inner.shared, other.shared",
        f'zzz = "{"x" * 56}... (source 2): unknown',
        "kind = \"fany\" (source 0): expected one of plain, fancy; did you mean 'fancy'?",
        "flag = 1 (source 1): expected true or false",
        "rate = nan (source 1): expected a number, at least 0",
        "inner.width = 9 (source 1): expected an integer, at least 1, at most 8",
        "inner.shared = 1 (source 0): expected a number, above 0, below 1",
    ]
    # 'zzz' is like nothing.
    assert hint.startswith("the settings are kind, flag, rate, inner.NAME, other.NAME; docs/")


def test_what_was_meant_needs_no_list_of_all_settings():
    _, lines, hint = problems({"rte": 1.0})
    assert lines == ["rte = 1.0 (source 0): unknown; did you mean 'rate'?"]
    assert "the settings are" not in hint


def test_one_wrong_value_needs_no_list_of_all_settings():
    first, lines, hint = problems({"inner": {"width": "wide"}})
    assert first == "one setting is wrong:"
    assert lines == ['inner.width = "wide" (source 0): expected an integer, at least 1, at most 8']
    assert "--set KEY=VALUE" in hint


@pytest.mark.parametrize("value", [True, 1.5, "1", [1], {"a": 1}])
def test_integers_are_not_guessed_from_other_types(value):
    _, lines, _ = problems({"inner": {"width": value}})
    assert len(lines) == 1
    assert "expected an integer" in lines[0]


def test_a_wrong_item_of_a_list_names_its_setting():
    _, lines, _ = problems({"other": {"sizes": [1, "two"]}})
    assert lines[0].startswith('other.sizes = "two" (source 0): expected')


def test_a_rule_over_several_settings_is_reported_in_its_own_words():
    _, lines, _ = problems({"kind": "fancy", "inner": {"width": 1}})
    assert lines == ["kind = fancy needs inner.width of at least 2"]


def test_values_can_be_checked_each_by_itself():
    values = {"kind": "fancy", "inner": {"width": 1}}
    assert check_values(Schema, Layer("", values)) == []
    wrong = {**values, "rate": -1.0, "wdth": 3}
    assert check_values(Schema, Layer("source 0", wrong)) == problems(wrong)[1]
    assert len(problems(wrong)[1]) == 2


def test_a_configuration_survives_toml_and_json():
    from trainer.settings import tomllib

    config = combine(Schema, [Layer("", {"rate": 1e-07, "other": {"sizes": [3]}, "flag": True})])
    assert combine(Schema, [Layer("file", tomllib.loads(config.to_toml()))]) == config
    assert Schema.model_validate_json(config.to_json()) == config


def test_settings_are_frozen_and_refuse_unknown_names():
    with pytest.raises(ValueError, match="frozen"):
        Schema().rate = 1.0
    with pytest.raises(ValueError, match="Extra inputs"):
        Schema(rat=1.0)


def test_the_listing_names_range_default_and_meaning():
    listing = {setting.key: setting for setting in list_settings(Schema)}
    assert list(listing)[:4] == ["kind", "flag", "rate", "inner.width"]
    width = listing["inner.width"]
    assert width.allowed == "an integer, at least 1, at most 8"
    assert (width.default, width.description) == ("3", "how wide")
    assert listing["kind"].allowed == "one of plain, fancy"
