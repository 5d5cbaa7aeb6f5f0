from __future__ import annotations

import pytest

from trainer.config import MODEL_DEFAULTS, MODEL_NAMES, TrainConfig, load_config
from trainer.settings import list_settings, tomllib
from weaksup.errors import UsageError


def load(model=None, file=None, /, **overrides):
    return load_config(model=model, file=file, overrides=overrides)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "train.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_model_has_defaults_that_are_valid():
    assert set(MODEL_DEFAULTS) == set(MODEL_NAMES)
    for model in MODEL_NAMES:
        assert load(model).model == model


def test_where_and_how_fast_does_not_decide_a_run():
    given = {"device": "cuda:1", "workers": "3"}
    assert load(**given).decisive == load().decisive == load()
    for other in ({"lr": "0.5"}, {"precision": "fp32"}, {"seed": "1"}):
        assert load(**given, **other).decisive == load(**other) != load()


def test_model_defaults_lie_between_those_of_all_models_and_the_file(toml, monkeypatch):
    monkeypatch.setitem(MODEL_DEFAULTS, "vsepp", {"epochs": 3, "lr": 0.25})
    assert (load("vsepp").epochs, load("a3vse").epochs) == (3, TrainConfig().epochs)
    config = load("vsepp", toml("epochs = 4"))
    assert (config.epochs, config.lr) == (4, 0.25)
    assert load("vsepp", toml("epochs = 4"), epochs="5").epochs == 5


def test_the_model_comes_from_set_then_option_then_file_then_default(toml):
    file = toml('model = "vsepp"')
    assert load().model == "a3vse"
    assert load(None, file).model == "vsepp"
    assert load("cca", file).model == "cca"
    assert load("cca", file, model="vse-infty").model == "vse-infty"


def test_errors_of_file_and_set_and_model_come_together(toml):
    file = toml("epochs = 0\n[lss]\nw_weak = 1\n")
    with pytest.raises(UsageError) as error:
        load("a3vs", file, batchsize="64", precision="fp8")
    message = error.value.message
    assert f"epochs = 0 ({file}): expected an integer, at least 1" in message
    assert f"lss.w_weak = 1 ({file}): unknown; did you mean 'loss.w_weak'?" in message
    assert "batchsize = 64 (--set): unknown; did you mean 'batch_size'?" in message
    assert 'precision = "fp8" (--set): expected one of auto, fp32' in message
    assert 'model = "a3vs" (--model): expected one of a3vse' in message
    assert error.value.exit_code == 2


def test_no_unannotated_images_are_refused_where_nothing_else_is_learned_from():
    with pytest.raises(UsageError, match=r"loss\.unannotated_per_gold = 0 leaves nothing"):
        load(w_gold="0", unannotated_per_gold="0")
    for other in ("w_gold", "w_pseudo"):
        load(**{"w_gold": "0", "unannotated_per_gold": "0", other: "0.5"})
    load(w_gold="0", unannotated_per_gold="0.01")


@pytest.mark.parametrize("none", [{"unannotated": "false"}, {"unannotated_per_gold": "0"}])
def test_the_adversary_needs_unannotated_images(none):
    with pytest.raises(UsageError, match=r"loss\.w_adv tells annotated from un-annotated images"):
        load(w_adv="0.1", **none)
    load(**none)


def test_a_file_that_is_no_toml_names_the_line(toml):
    with pytest.raises(UsageError, match=r"train\.toml cannot be read as TOML: .*line 2"):
        load(None, toml("epochs = 3\nlr == 1\n"))


def test_a_file_that_cannot_be_read_is_no_matter_of_toml(tmp_path):
    """A folder stands for it: the user of a test may be allowed to read everything."""
    with pytest.raises(UsageError) as error:
        load(None, tmp_path)
    assert error.value.message == f"{tmp_path} cannot be read: Is a directory"
    assert error.value.hint == "see that it is a file, and that you may read it"


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml"):
        load(None, tmp_path / "none.toml")


def test_what_is_written_is_read_back(toml):
    config = load("vse-infty", epochs="7", lr="1e-5", w_weak="0.25")
    assert load(None, toml(config.to_toml())) == config
    assert TrainConfig.model_validate_json(config.to_json()) == config


def test_every_setting_is_described_and_can_be_written_in_toml():
    for setting in list_settings(TrainConfig):
        assert setting.description, setting.key
        assert "None" not in setting.allowed, f"{setting.key}: TOML has no null"
        tomllib.loads(f"value = {setting.default}")
