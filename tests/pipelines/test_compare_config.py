"""The file that says what is compared: what it may hold, and what is said of what is wrong."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipelines.compare.config import (
    PACKAGED,
    ComparisonSection,
    VariantSection,
    describe_keys,
    find_config,
    load_comparison,
)
from pipelines.compare.plan import plan_cells
from trainer.config import TrainConfig, load_config
from trainer.settings import SettingsError
from weaksup.errors import UsageError


@pytest.fixture
def load(tmp_path):
    def read(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_comparison(path)

    return read


def problems(load, text):
    with pytest.raises(SettingsError) as error:
        load(text)
    return error.value.problems


def test_a_model_alone_is_a_comparison(load):
    comparison = load('models = ["cca"]')
    assert (comparison.name, comparison.hold_out, comparison.protocols) == ("mine", 0, ("full",))
    (variant,) = comparison.variants
    assert (variant.label, variant.ratios, variant.seeds) == ("cca", (0.2,), (0, 1, 2))
    assert variant.config == load_config(model="cca", file=None, overrides={})


def test_settings_are_those_of_train(load):
    comparison = load(
        'models = ["vsepp"]\n'
        "seeds = [4]\n"
        "set.lr = 0.5\n"
        "set.precision = 'bf16'\n"
        "[[variant]]\n"
        "label = 'mine'\n"
        "model = 'a3vse'\n"
        "ratios = [1, 0.5]\n"
        "set.w_adv = 0\n"
        'set."fusion.concepts" = 0\n'
        "set.loss.w_weak = 0.25\n"
        "set.lr = 0.25\n"
    )
    plain, mine = comparison.variants
    assert plain.config == load_config(
        model="vsepp", file=None, overrides={"lr": "0.5", "precision": "bf16"}
    )
    assert mine.config == load_config(
        model="a3vse",
        file=None,
        overrides={
            **{"lr": "0.25", "precision": "bf16", "loss.w_adv": "0"},
            **{"fusion.concepts": "0", "loss.w_weak": "0.25"},
        },
    )
    assert not plain.changed
    assert mine.changed == {"w_adv": 0, "fusion.concepts": 0, "loss.w_weak": 0.25, "lr": 0.25}
    assert (mine.ratios, mine.seeds) == ((1.0, 0.5), (4,))


def test_shared_settings_need_to_fit_the_models_that_are_compared_alone(load):
    for model, setting in (
        ("vsepp", "embed_size = 510"),
        ("cca", "regions.heads = 7"),
        ("vse-infty", "loss = {w_gold = 0, w_weak = 0}"),
    ):
        assert len(load(f"models = ['{model}']\nset.{setting}").variants) == 1


def test_all_that_is_wrong_is_said_at_once(load):
    found = problems(
        load,
        'nam = "x"\n'
        'models = ["cc"]\n'
        "ratios = [0.2, 2]\n"
        'seeds = "a"\n'
        'reference = "minr"\n'
        "hold_out = -1\n"
        "set.epochz = 3\n"
        "[[variant]]\n"
        'lable = "z"\n'
        "set.loss.w_wek = 1\n"
        "set.seed = 3\n"
        "[[variant]]\n"
        'label = "mine"\n'
        'model = "a3v"\n'
        'set = "no"\n',
    )
    expected = (
        "nam = \"x\" (mine.toml): unknown; did you mean 'name'?",
        "unknown model 'cc'",
        "ratios: 2 is not over 0 and up to 1",
        'seeds = "a" (mine.toml): expected a list of integers',
        "reference 'minr' is no label; did you mean 'mine'?",
        "hold_out = -1 (mine.toml): expected an integer, at least 0",
        "epochz = 3 (set): unknown; did you mean 'epochs'?",
        "variant 1: lable = \"z\" (mine.toml): unknown; did you mean 'label'?",
        "variant 1: label is missing",
        "loss.w_wek = 1 (set of variant 1): unknown; did you mean 'loss.w_weak'?",
        "seed (set of variant 1): it comes from `seeds`",
        "did you mean 'a3vse'?",
        'variant 2: set = "no" (mine.toml): expected a table',
    )
    for message in expected:
        assert any(message in problem for problem in found), message
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing is compared"),
        ('models = ["cca", "cca"]', "cca is there twice"),
        ('models = ["cca"]\nratios = [0.2, 0.2]', "0.2 is there twice"),
        ('models = ["cca"]\nratios = []', "at least one ratio"),
        ('models = ["cca"]\nseeds = []', "at least one seed"),
        ('models = ["cca"]\nseeds = [-1]', "-1 is not from 0"),
        (
            'models = ["cca"]\nseeds = [-1, 0.5, true]',
            "seeds: -1 is not from 0 up to 4294967295; 0.5 is no integer; True is no integer",
        ),
        (
            'models = ["cca"]\nratios = [7, "half", nan, -0.1]',
            "ratios: 7 is not over 0 and up to 1; 'half' is no number; nan is not over 0 and up to "
            "1; -0.1 is not over 0 and up to 1",
        ),
        (
            '[[variant]]\nlabel = "a"\nseeds = [-2, "b"]',
            "variant 1: seeds: -2 is not from 0 up to 4294967295; 'b' is no integer",
        ),
        ('models = ["cca"]\nprotocols = ["fold-1k"]', "did you mean 'folds-1k'?"),
        ('models = ["cca"]\ntest_split = "train"', "one of test, val"),
        ('models = ["cca"]\nname = "a/b"', "no folder name"),
        ('models = ["cca"]\n[[variant]]\nlabel = "cca"', "'cca' is given twice"),
        (
            '[[variant]]\nlabel = "a, b"\n[[variant]]\nlabel = "a b"',
            "'a, b' and 'a b' would have the same folder",
        ),
        ('models = ["a3vse"]\nset.heads = 3', "does not divide embed_size"),
        (
            'models = ["vsepp", "a3vse"]\nset.heads = 3\n[[variant]]\nlabel = "b"\nset.lr = 0.5',
            "does not divide embed_size",
        ),
        ('models = ["vsepp"]\nset.heads = 65', "regions.heads = 65 (set): expected an integer"),
    ],
)
def test_what_is_refused(load, text, message):
    (problem,) = problems(load, text)
    assert message in problem


def test_values_that_do_not_fit_one_another_are_told_with_their_labels(load):
    text = 'models = ["a3vse", "vsepp"]\nset.embed_size = 510\n'
    text += '[[variant]]\nlabel = "b"\nset.lr = 0.5\n[[variant]]\nlabel = "c"\nset.heads = 3'
    (problem,) = problems(load, text)
    assert problem == "regions.heads = 4 does not divide embed_size = 510 (a3vse, b)"


@pytest.mark.parametrize("section", [ComparisonSection, VariantSection])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratios": (7.0, 0.5)}, "7.0 is not over 0 and up to 1"),
        ({"ratios": (0.5, 0.5)}, "0.5 is there twice"),
        ({"seeds": (-3, True)}, "-3 is not from 0 up to 4294967295; True is no integer"),
        ({"seeds": {1, 2}}, "tuple"),
    ],
)
def test_from_python_the_same_is_refused(section, values, message):
    with pytest.raises(ValidationError, match=message):
        section(**values)


@pytest.mark.parametrize("key", ["ratios", "seeds"])
def test_from_python_there_is_at_least_one_of_each(key):
    with pytest.raises(ValidationError, match="at least one"):
        ComparisonSection(**{key: ()})


def test_what_is_no_toml_is_refused(load):
    with pytest.raises(UsageError, match="line 1"):
        load("models = cca")


def test_a_folder_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="photos: it is a folder"):
        find_config("photos")
    # What comes with weaksup has its name in any folder.
    (tmp_path / PACKAGED[0]).mkdir()
    assert find_config(PACKAGED[0]).is_file()


BASELINES = "flickr8k-baselines"


@pytest.mark.parametrize("name", [name for name in PACKAGED if name != BASELINES])
def test_what_comes_with_weaksup_can_be_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comparison = load_comparison(find_config(name))
    assert comparison.name == name
    cells = plan_cells(comparison)
    assert {cell.model for cell in cells} == {"cca", "vsepp", "vse-infty", "scan", "a3vse"}
    assert {cell.seed for cell in cells} == {0, 1, 2}
    # Ablations are of the whole model at a ratio that it is trained at, too.
    for variant in comparison.variants:
        assert set(variant.ratios) <= set(comparison.variants[0].ratios)


def test_the_baselines_have_an_equal_budget_which_holds_their_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comparison = load_comparison(find_config(BASELINES))
    assert comparison.name == BASELINES
    assert comparison.test_split == "val"
    tried: dict[str, list[TrainConfig]] = {}
    for variant in comparison.variants:
        tried.setdefault(variant.model, []).append(variant.config)
    assert tried.keys() == {"cca", "vsepp", "vse-infty", "scan"}
    for model, configs in tried.items():
        assert len({config.to_json() for config in configs}) == len(configs) == 6
        assert load_config(model=model, file=None, overrides={}) in configs


def test_a_file_wins_over_what_comes_with_weaksup(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco").write_text("")
    assert find_config("coco").resolve() == tmp_path / "coco"
    with pytest.raises(UsageError, match="did you mean 'flickr8k'"):
        find_config("flickr8")


def test_cells_are_ordered_so_that_early_ones_compare(load):
    cells = plan_cells(
        load(
            'models = ["a3vse", "cca"]\nratios = [1.0, 0.00001]\nseeds = [7, 3]\n'
            '[[variant]]\nlabel = "a3vse, slow: 2"\nseeds = [3]\nratios = [1.0]\nset.lr = 1e-4'
        )
    )
    assert [(str(cell), cell.folder) for cell in cells] == [
        ("a3vse, 0.001 %, seed 7", "a3vse-0.00001-7"),
        ("cca, 0.001 %, seed 7", "cca-0.00001-7"),
        ("a3vse, 0.001 %, seed 3", "a3vse-0.00001-3"),
        ("cca, 0.001 %, seed 3", "cca-0.00001-3"),
        ("a3vse, 100 %, seed 7", "a3vse-1.0-7"),
        # With all captions the closed form is the same for every seed.
        ("cca, 100 %, seed 7", "cca-1.0-7"),
        ("a3vse, 100 %, seed 3", "a3vse-1.0-3"),
        ("cca, 100 %, seed 3", "cca-1.0-7"),
        ("a3vse, slow: 2, 100 %, seed 3", "a3vse-slow-2-1.0-3"),
    ]
    for cell in cells:
        assert cell.config.seed == (7 if cell.folder == "cca-1.0-7" else cell.seed)


def test_a_closed_form_whose_banks_are_drawn_is_trained_with_every_seed(load):
    cells = plan_cells(
        load('models = ["cca"]\nratios = [1.0]\nseeds = [7, 3]\nset.hubness.weight = 0.6')
    )
    assert [(cell.folder, cell.config.seed) for cell in cells] == [
        ("cca-1.0-7", 7),
        ("cca-1.0-3", 3),
    ]


def test_every_key_is_described(request):
    page = (request.config.rootpath / "docs/compare.md").read_text(encoding="utf-8").splitlines()
    table = page[page.index("| key | default | meaning |") :]
    described = table[2 : table.index("")]
    assert described == [
        f"| `{key}` | `{default}` | {description} |"
        for key, default, description in describe_keys()
    ]
