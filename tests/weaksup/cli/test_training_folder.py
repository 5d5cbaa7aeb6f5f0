"""Which folder a training has: what is free, what is gone on with, what is refused."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from trainer.checkpoint import STATE, WEIGHTS, Position, save_state
from trainer.config import load_config
from trainer.run import RunDescription
from weaksup.cli.training_folder import (
    check_runs_place,
    choose_folder,
    claim_folder,
    interrupted_folder,
)
from weaksup.errors import DataError, UsageError
from weaksup.types import Provenance
from weaksup.workspace import Workspace

MADE_FROM = {"settings": "these", "precision": "fp32"}


@pytest.fixture
def workspace(tmp_path):
    return Workspace.open(tmp_path)


@pytest.fixture
def describe(tmp_path):
    def make(**settings):
        return RunDescription(
            config=load_config(model="a3vse", file=None, overrides=settings),
            regions=tmp_path / "regions.h5",
            captions=tmp_path / "captions.csv",
            annotations=tmp_path / "annotations.json",
            provenance=Provenance("test", "0" * 64, {}),
            fingerprint="0" * 64,
            feature_size=4,
            sources=(2, 1),
        )

    return make


@pytest.fixture
def choose(workspace, describe):
    def call(name=None):
        return choose_folder(workspace, name=name, description=describe(), fingerprint=MADE_FROM)

    return call


@pytest.fixture
def leave(workspace, describe):
    """A folder as a training leaves it: ``begun``, ``interrupted`` or ``finished``."""

    def call(name, state, *, made_from=MADE_FROM, **settings):
        folder = workspace.runs / name
        folder.mkdir(parents=True)
        describe(**settings).write(folder)
        if state == "interrupted":
            save_state(folder / STATE, modules={}, position=Position(), fingerprint=made_from)
        if state == "finished":
            (folder / WEIGHTS).touch()
        return folder

    return call


def test_without_a_name_the_first_that_is_free_is_taken(workspace, choose, leave):
    assert choose() == (workspace.runs / "a3vse", False)
    leave("a3vse", "finished")
    leave("a3vse-2", "interrupted", made_from={**MADE_FROM, "settings": "others"})
    leave("a3vse-3", "begun", epochs="3")
    assert choose() == (workspace.runs / "a3vse-4", False)


@pytest.mark.parametrize("name", [None, "a3vse"])
def test_what_was_interrupted_is_gone_on_with(workspace, describe, choose, leave, name):
    folder = leave("a3vse", "interrupted")
    assert choose(name) == (folder, True)
    settings = describe().config
    assert interrupted_folder(workspace, name=name, settings=settings) == folder


def test_of_several_the_one_that_fits_is_resumed(workspace, describe, leave):
    first = leave("a3vse", "interrupted", epochs="3")
    second = leave("a3vse-2", "interrupted", epochs="4")
    for epochs, folder in (("3", first), ("4", second), ("5", first)):
        settings = describe(epochs=epochs).config
        assert interrupted_folder(workspace, name=None, settings=settings) == folder


def test_what_has_no_checkpoint_yet_is_begun_anew(choose, leave):
    assert choose("mine") == (leave("mine", "begun"), False)


def test_another_device_and_other_workers_are_no_other_settings(workspace, describe, choose, leave):
    elsewhere, settings = {"device": "cpu", "workers": "2"}, describe().config
    begun = leave("a3vse", "begun", **elsewhere)
    assert choose() == choose("a3vse") == (begun, False)
    (workspace.runs / "a3vse-2").touch()  # where the search would go on
    check_runs_place(workspace, name=None, settings=settings, resume=False)


def test_of_several_the_one_of_another_device_is_resumed(workspace, describe, leave):
    leave("a3vse", "interrupted", epochs="3")
    second = leave("a3vse-2", "interrupted", device="cpu", workers="2")
    settings = describe().config
    assert interrupted_folder(workspace, name=None, settings=settings) == second


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("auto", "a3vse"),
        # Asked for: then `auto` is another setting.
        ("bf16", "a3vse-2"),
    ],
)
def test_what_auto_began_on_another_device_is_not_trained_again_in_a_further_folder(
    choose, leave, before, name
):
    leave("a3vse", "interrupted", made_from={**MADE_FROM, "precision": "bf16"}, precision=before)
    folder, resumes = choose()
    assert (folder.name, resumes) == (name, name == "a3vse")
    if resumes:
        with ExitStack() as stack, pytest.raises(UsageError) as caught:
            claim_folder(choose, stack, fingerprint=MADE_FROM)
        assert "was trained in the precision bf16, and would go on in fp32" in caught.value.message
        assert "precision=bf16" in caught.value.hint


@pytest.mark.parametrize(
    ("state", "settings", "said"),
    [
        ("finished", {}, "there is a run in .*mine already, finished\n"),
        ("begun", {"epochs": "3"}, "there is a run in .*mine already, made from other data or"),
    ],
)
def test_a_name_that_another_run_has_is_refused(choose, leave, state, settings, said):
    leave("mine", state, **settings)
    with pytest.raises(UsageError, match=said):
        choose("mine")


def test_what_was_made_from_other_things_is_refused_once_it_is_ours(choose, leave):
    folder = leave("mine", "interrupted", made_from={**MADE_FROM, "settings": "others"})
    # Until then another process may be training it, or end.
    assert choose("mine") == (folder, True)
    with ExitStack() as stack, pytest.raises(UsageError) as caught:
        claim_folder(lambda: choose("mine"), stack, fingerprint=MADE_FROM)
    assert caught.value.message == f"the interrupted run in {folder} was made with other settings"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a/"])
def test_what_is_no_folder_name_is_refused(workspace, describe, choose, name):
    with pytest.raises(UsageError, match="is no folder name"):
        choose(name)
    with pytest.raises(UsageError, match="is no folder name"):
        interrupted_folder(workspace, name=name, settings=describe().config)


def test_without_an_interrupted_run_there_is_none_to_resume(workspace, describe, leave):
    leave("a3vse", "finished")
    for name, where in ((None, workspace.runs), ("a3vse", workspace.runs / "a3vse")):
        with pytest.raises(DataError) as caught:
            interrupted_folder(workspace, name=name, settings=describe().config)
        assert caught.value.message.startswith(f"there is no interrupted run to resume in {where}")
        assert caught.value.hint == "leave --resume away"
    leave("mine", "interrupted")
    with pytest.raises(DataError) as caught:
        interrupted_folder(workspace, name=None, settings=describe().config)
    assert caught.value.hint == "name the one that is meant with --name: mine"


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("name", [None, "a3vse"])
def test_what_is_no_folder_is_refused_before_anything_is_read(workspace, describe, name, kind):
    workspace.runs.mkdir()
    place = workspace.runs / "a3vse"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"a3vse cannot be written: it is no folder\n.*--name"):
        check_runs_place(workspace, name=name, settings=describe().config, resume=False)


@pytest.mark.parametrize(
    ("state", "settings", "used"),
    [
        ("begun", {}, True),
        ("interrupted", {}, True),
        ("interrupted", {"epochs": "3"}, False),
        ("finished", {}, False),
    ],
)
def test_the_place_that_is_tried_is_the_one_that_is_used(
    workspace, describe, choose, leave, state, settings, used
):
    leave(
        "a3vse",
        state,
        made_from={**MADE_FROM, **({"settings": str(settings)} if settings else {})},
        **settings,
    )
    # What cannot be written stands where the search goes on.
    (workspace.runs / "a3vse-2").touch()
    if used:
        check_runs_place(workspace, name=None, settings=describe().config, resume=False)
        assert choose()[0].name == "a3vse"
        return
    with pytest.raises(UsageError, match="a3vse-2 cannot be written"):
        check_runs_place(workspace, name=None, settings=describe().config, resume=False)
    assert choose()[0].name == "a3vse-2"


def test_a_run_that_ended_before_the_folder_was_locked_is_not_overwritten(choose, leave):
    found = []

    def late():
        found.append(choose())
        if len(found) == 1:
            leave("a3vse", "finished")
        return found[-1]

    with ExitStack() as stack, pytest.raises(UsageError, match="has just been training"):
        claim_folder(late, stack, fingerprint=MADE_FROM)
    assert len(found) == 2
    with ExitStack() as stack:
        folder, resumes = claim_folder(choose, stack, fingerprint=MADE_FROM)
        assert (folder.name, resumes) == ("a3vse-2", False)
    # Nothing was written there.
    assert not folder.exists()
