"""One's own images: folders, lists and arrays, decoded once into a cache."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_images import own_cache, write_images, write_levels, write_plain  # noqa: F401  # the fixture of every test
from small import images

from onecycle import UserError
from onecycle.data import cache, folder, own_images
from onecycle.data import decode as decoding
from onecycle.data.listing import natural

TWO = {"cat/1.png": 10, "cat/2.png": 20, "dog/1.png": 30, "dog/2.png": 40}


def levels(found: Any) -> list[int]:
    """The grey level of each image of a set."""
    return found.images_nhwc[:, 0, 0, 0].tolist()  # type: ignore[no-any-return]


def refused(place: Path, **options: Any) -> list[str]:
    """The lines of the error."""
    with pytest.raises(UserError) as error:
        own_images(place, **{"image_size": 8, **options})
    return list(error.value.problems)


# --- folders -----------------------------------------------------------------------------------------------------


def test_numbered_png_files_give_the_arrays_that_they_were_written_from(tmp_path: Path) -> None:
    train, test = images(70, 0), images(30, 1)
    write_images(tmp_path / "set/train", train)
    write_images(tmp_path / "set/test", test)
    found = own_images(tmp_path / "set")
    assert found.test is not None and found.val is None and found.notes == ()
    assert found.train.fingerprint() == train.fingerprint()
    assert found.test.fingerprint() == test.fingerprint()
    assert isinstance(found.train.images_nhwc, np.memmap) and not found.train.images_nhwc.flags.owndata


def test_copies_among_the_training_images_are_said(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", {**TWO, "cat/copy.png": 10})
    (note,) = own_images(place, image_size=8).notes
    assert note.startswith(f"{place}: 1 of the training images are copies of others (")
    assert own_images(write_levels(tmp_path / "other", TWO), image_size=8).notes == ()


def test_images_are_in_the_order_of_their_names_then_of_their_classes(tmp_path: Path) -> None:
    files = {"b/2.png": 1, "a/10.png": 3, "a/2.png": 0, "b/sub/1.png": 5, "a/x/1.png": 6, "b/9.png": 2, "a/a.png": 4}
    found = own_images(write_levels(tmp_path / "set", files), image_size=8)
    assert found.train.classes == ("a", "b")
    assert levels(found.train) == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(["10", "9", "1b", "01", "1"], key=natural) == ["01", "1", "1b", "9", "10"]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "VALIDATION", "testing"), ("train", "valid")])
def test_the_folders_of_the_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    for level, name in enumerate(names):
        write_levels(tmp_path / "set" / name, {"cat/1.png": 10 * level, "dog/1.png": 10 * level + 1})
    found = own_images(tmp_path / "set", image_size=8)
    parts = [part for part in (found.train, found.val, found.test) if part is not None]
    assert [levels(part) for part in parts] == [[10 * level, 10 * level + 1] for level in range(len(names))]


@pytest.mark.parametrize("part", ["test", "Val"])
def test_a_part_with_classes_beside_classes_is_no_class(part: str, tmp_path: Path) -> None:
    write_levels(tmp_path / "set", TWO | {f"{part}/cat/1.png": 50, f"{part}/dog/1.png": 60})
    assert refused(tmp_path / "set") == [
        f"{tmp_path / 'set'}: {part} has folders in it, and there is no train; move the others into one"
    ]
    write_levels(tmp_path / "plain", TWO | {f"{part}/1.png": 50, f"{part}/.hidden.png": 60})
    found = own_images(tmp_path / "plain", image_size=8)
    assert found.train.classes == tuple(sorted(["cat", "dog", part]))
    assert found.notes == (f"{tmp_path / 'plain'}: left out: 1 hidden",)


def test_copies_between_parts_and_between_classes_are_told(tmp_path: Path) -> None:
    files = {f"train/{name}": level for name, level in TWO.items()}
    write_levels(tmp_path / "set", files | {"test/cat/9.png": 10, "test/dog/8.png": 77, "train/dog/3.png": 20})
    said = own_images(tmp_path / "set", image_size=8).notes
    assert said[0].endswith(
        "1 of the test part's images are in the training part too (test/cat/9.png); they do not tell how good the "
        "net is on new ones"
    )
    assert said[1].endswith("1 of the images are there with another label too (train/dog/3.png)") and len(said) == 2


def test_every_copy_between_parts_is_counted(tmp_path: Path) -> None:
    files = {f"train/{name}": level for name, level in TWO.items()}
    copies = {
        "test/cat/8.png": 10,
        "test/cat/9.png": 10,
        "test/dog/8.png": 77,
        "val/dog/7.png": 77,
        "val/cat/7.png": 66,
    }
    write_levels(tmp_path / "set", files | copies)
    first, second = (note.partition(": ")[2] for note in own_images(tmp_path / "set", image_size=8).notes)
    assert first.startswith("2 of the test part's images are in the training part too (test/cat/8.png, test/cat/9.png)")
    assert second.startswith("1 of the test part's images are in the val part too (test/dog/8.png)")


def test_what_a_file_takes_of_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_levels(tmp_path / "set", TWO)

    def scarce(*arguments: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(decoding, "_decoded", scarce)
        (line,) = refused(tmp_path / "set", damaged="skip")
    assert line.endswith("1.png: there is not enough memory for it")
    assert len(own_images(tmp_path / "set", image_size=8, damaged="skip").train) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"damaged": "refused"}, "damaged 'refused' is not allowed; did you mean 'refuse'"),
        ({"fit": "stretch"}, "fit 'stretch' is not allowed"),
        ({"image_size": 0}, "image_size 0 is not allowed; 1 or more"),
    ],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    (line,) = refused(write_levels(tmp_path / "set", TWO), **options)
    assert line.startswith(said)


def test_images_that_no_class_has_are_counted_as_such(tmp_path: Path) -> None:
    folder = write_levels(tmp_path / "set", TWO | {"loose.png": 1, "loose2.png": 2})
    (note,) = own_images(folder, image_size=8).notes
    assert note.endswith("left out: 2 images beside the class folders")


def test_blanks_around_labels_make_no_classes(tmp_path: Path) -> None:
    write_levels(tmp_path, TWO)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\ncat/1.png,cat\ncat/2.png, cat \ndog/1.png,dog\ndog/2.png, dog\n")
    assert own_images(listed, image_size=8).train.classes == ("cat", "dog")
    write_levels(tmp_path / "set", TWO | {"cat /1.png": 50})
    (line,) = refused(tmp_path / "set")
    assert line.endswith("the class name 'cat ' begins or ends with a blank; rename it")


def test_train_among_other_classes_is_a_class(tmp_path: Path) -> None:
    write_levels(tmp_path / "set", {"bus/1.png": 1, "bus/2.png": 2, "train/1.png": 3, "train/2.png": 4})
    assert own_images(tmp_path / "set", image_size=8).train.classes == ("bus", "train")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", TWO)
    for name in ("README.md", "cat/Thumbs.db", ".DS_Store", "cat/.hidden.png", "cat/label.txt"):
        (place / name).write_text("no image")
    for name in (".git", "__MACOSX", "empty"):
        (place / name).mkdir()
    os.mkfifo(place / "cat/pipe.png")
    (place / "cat/again").symlink_to(place / "dog")
    found = own_images(place, image_size=8)
    assert levels(found.train) == [10, 30, 20, 40]
    assert found.notes == (
        f"{place}/empty: left out: a class folder without images",
        f"{place}: left out: 3 not named as images (1 .md, 1 .db, 1 .txt), 4 hidden, 1 linked to a folder, "
        "1 links to nothing, pipes and the like",
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no images in class folders; a folder of images for each class is needed"),
        ({"1.png": 1, "2.png": 2}, "no images in class folders"),
        ({"cat/1.png": 1, "cat/2.png": 2}, "one class, 'cat' to train; two or more are needed"),
        ({"test/cat/1.png": 1, "val/cat/1.png": 2}, "has test, val and no train"),
        ({"train/a/1.png": 1, "val/a/1.png": 2, "valid/a/1.png": 2}, "val and valid are the same part"),
        (
            {"train/a/1.png": 1, "train/b/1.png": 1, "test/a/1.png": 2, "test/c/1.png": 2},
            "c in the test part is not in the training part",
        ),
        ({"\x1b[31mred/1.png": 1, "dog/1.png": 2}, "the class name '\\x1b[31mred' has characters that cannot be"),
    ],
)
def test_folders_that_are_no_set(tmp_path: Path, files: dict[str, int], said: str) -> None:
    (tmp_path / "set").mkdir()
    [line] = refused(write_levels(tmp_path / "set", files))
    assert said in line and line.startswith(str(tmp_path / "set"))


def test_folders_beside_the_parts_are_left_out(tmp_path: Path) -> None:
    write_levels(tmp_path / "set", {"train/a/1.png": 1, "train/b/1.png": 2, "notes/1.png": 3, "old/x/1.png": 4})
    found = own_images(tmp_path / "set", image_size=8)
    assert found.train.classes == ("a", "b") and found.notes == (
        f"{tmp_path}/set: left out: 2 beside train (notes, old)",
    )


def test_a_class_that_only_the_training_part_has_is_said(tmp_path: Path) -> None:
    """Of the test part, what is said before a training says so: see test_advice."""
    files = {"train/a/1.png": 1, "train/b/1.png": 4, "test/a/1.png": 2, "val/a/1.png": 3}
    write_levels(tmp_path / "set", files)
    found = own_images(tmp_path / "set", image_size=8)
    assert found.test is not None and found.test.classes == ("a", "b")
    assert found.notes == (f"{tmp_path}/set: the val part has no images of b",)


@pytest.mark.parametrize("target", ["outside.png", "outside"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    place = write_levels(tmp_path / "set", TWO)
    write_plain(tmp_path / "outside.png")
    write_plain(tmp_path / "outside/1.png")
    (place / "cat/secret.png").symlink_to(tmp_path / target)
    [line] = refused(place)
    assert line == f"{place}/cat/secret.png: a link out of {place}; images must lie in the folder"


def test_a_link_to_an_image_in_the_folder_is_an_image(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", TWO)
    (place / "cat/3.png").symlink_to("../dog/2.png")
    assert levels(own_images(place, image_size=8).train) == [10, 30, 20, 40, 40]


# --- damaged files -----------------------------------------------------------------------------------------------


def test_all_damaged_files_are_named_or_left_out(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", TWO)
    (place / "cat/0.png").write_bytes(b"")
    (place / "dog/1.5.png").write_bytes(b"no image")
    (place / "dog/gone.png").symlink_to(place / "nowhere.png")
    lines = refused(place)
    assert [line.split(": ")[0] for line in lines[:2]] == [f"{place}/cat/0.png", f"{place}/dog/1.5.png"]
    assert lines[2:] == [f"{place}: mend or remove what is damaged, or leave it out with data.damaged=skip"]
    found = own_images(place, image_size=8, damaged="skip")
    assert levels(found.train) == [10, 30, 20, 40] and found.train.labels.tolist() == [0, 1, 0, 1]
    assert found.notes[-1] == f"{place}: left out as damaged: 2 of 6 files, cat/0.png, dog/1.5.png"


def test_of_many_damaged_files_twenty_are_named_and_all_counted(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", TWO)
    for number in range(25):
        (place / f"cat/broken{number}.png").write_bytes(b"no image")
    lines = refused(place)
    assert len(lines) == 22 and lines[20] == f"{place}: damaged: 25 of 29 files"
    for name in ("dog/1.png", "dog/2.png"):
        (place / name).write_bytes(b"")
    assert refused(place, damaged="skip") == [f"{place}: no images of dog to train; one of each class at least"]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_levels(tmp_path / "set", TWO)
    monkeypatch.setattr(folder, "_digest", lambda path: "of something else")
    [line] = refused(place)
    assert line.startswith(f"{place}/cat/1.png: has changed while it was read")


# --- the cache ---------------------------------------------------------------------------------------------------


def test_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_levels(tmp_path / "set", TWO)
    decoded = count_decoding(monkeypatch)
    first = own_images(place, image_size=8).train
    assert own_images(place, image_size=8).train.fingerprint() == first.fingerprint()
    place.rename(tmp_path / "moved")
    assert own_images(tmp_path / "moved", image_size=8).train.fingerprint() == first.fingerprint()
    assert len(decoded) == 4
    own_images(tmp_path / "moved", image_size=9)
    own_images(tmp_path / "moved", image_size=8, fit="pad")
    assert len(decoded) == 12
    write_plain(tmp_path / "moved/dog/2.png", 41)
    assert levels(own_images(tmp_path / "moved", image_size=8).train) == [10, 30, 20, 41]


@pytest.mark.parametrize("where", ["pixel", "header", "cut", "manifest", "not json", "gone"])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, cached: Path, where: str) -> None:
    place = write_levels(tmp_path / "set", TWO)
    first = own_images(place, image_size=8).train.fingerprint()
    [kept] = [one for one in cached.iterdir() if one.is_dir()]
    stored = bytearray((kept / "images.npy").read_bytes())
    if where == "manifest":
        (kept / "manifest.json").write_text(json.dumps({"sha256": "0" * 64, "images": 4, "bad": {}}))
    elif where == "not json":
        (kept / "manifest.json").write_text("{")
    elif where == "gone":
        (kept / "images.npy").unlink()
    else:
        stored[{"pixel": -1, "header": 12, "cut": -1}[where]] ^= 1
        (kept / "images.npy").write_bytes(stored[:-1] if where == "cut" else stored)
    found = own_images(place, image_size=8)
    assert found.train.fingerprint() == first
    assert found.notes == (f"{kept}: the decoded images are damaged; the files are decoded anew",)
    assert own_images(place, image_size=8).notes == ()


class Killed(BaseException):
    """Stands for a signal that leaves no time."""


def test_what_a_killed_process_left_is_no_cache(tmp_path: Path, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_levels(tmp_path / "set", TWO)

    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patches, pytest.raises(Killed):
        patches.setattr(Path, "rename", killed)
        patches.setattr(cache.shutil, "rmtree", lambda *arguments, **options: None)  # a killed process tidies nothing
        own_images(place, image_size=8)
    assert [one.suffix for one in cached.iterdir() if one.is_dir()] == [".part"]
    assert levels(own_images(place, image_size=8).train) == [10, 30, 20, 40]
    assert [one.suffix for one in cached.iterdir() if one.is_dir()] == [""]


def test_one_writes_and_the_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_levels(tmp_path / "set", TWO)
    decoded = count_decoding(monkeypatch)
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append(levels(own_images(place, image_size=8).train))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[10, 30, 20, 40]] * 4 and len(decoded) == 4


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_levels(tmp_path / "set", TWO)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "write_json", full)
    [line] = refused(place)
    assert "the disk is full" in line and not [one for one in cached.iterdir() if one.is_dir()]
    monkeypatch.setattr(cache, "cache_folder", lambda: write_plain(tmp_path / "file.png"))
    [line] = refused(place)
    assert str(tmp_path / "file.png") in line and "cannot be written" in line and "XDG_CACHE_HOME may name" in line


def test_large_files_are_decoded_in_threads_with_the_same_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_images(tmp_path / "set", images(60, 0))
    told: list[tuple[int, int, str]] = []
    alone = own_images(place, progress=lambda *said: told.append(said)).train.fingerprint()
    assert told == [(60, 60, "decoded")]
    threads: set[int] = set()
    before = folder.decode
    monkeypatch.setattr(folder, "_SMALL_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    monkeypatch.setattr(folder, "decode", lambda *a, **o: (threads.add(threading.get_ident()), before(*a, **o))[1])
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "other")
    told.clear()
    assert own_images(place, progress=lambda *said: told.append(said)).train.fingerprint() == alone
    assert threads and threading.get_ident() not in threads
    assert [done for done, *_ in told] == list(range(4, 61, 4))


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each file that is decoded."""
    counted: list[int] = []
    before = folder.decode
    monkeypatch.setattr(folder, "decode", lambda *a, **o: (counted.append(1), before(*a, **o))[1])
    return counted
