"""Which file an image is in: held to the pixels of the files themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from own_images import own_cache, write_images  # noqa: F401  # the fixture of every test
from PIL import Image
from small import dataset, images, net, small_recipe
from test_cli import call

import onecycle
from onecycle import Observer, UserError
from onecycle.api.image_files import ImageFiles, image_files
from onecycle.data import ImageSet, own_files
from onecycle.preparation import Sets, load_data

SILENT = Observer()


def assert_theirs(found: ImageFiles, pixels: np.ndarray | Sequence[np.ndarray]) -> None:
    """The images of a set are those in the files."""
    assert len(found) == len(pixels)
    for place, one in enumerate(pixels):
        np.testing.assert_array_equal(np.asarray(Image.open(found.path(place))), one)


@pytest.mark.parametrize("damaged", ["refuse", "skip"])
def test_of_one_folder_a_fifth_tests(tmp_path: Path, damaged: str) -> None:
    place = write_images(tmp_path / "photos", images(60))
    if damaged == "skip":
        for path in sorted(place.rglob("*.png"))[7:30:22]:
            path.write_bytes(b"no image")
    wanted = small_recipe(**{"data.name": str(place), "data.damaged": damaged})
    sets, found = load_data(wanted), image_files(wanted)
    assert_theirs(found["train"], sets.train.images_nhwc)
    assert_theirs(found["test"], sets.test.images_nhwc)
    assert sum(map(len, found.values())) == (58 if damaged == "skip" else 60)


def test_of_parts_and_of_a_list_and_of_what_are_no_files(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        write_images(tmp_path / "photos" / part, images(20, number))
    wanted = small_recipe(**{"data.name": str(tmp_path / "photos")})
    sets, found = load_data(wanted), image_files(wanted)
    assert isinstance(sets, Sets) and sets.val is not None
    assert_theirs(found["train"], [*sets.train.images_nhwc, *sets.val.images_nhwc])
    assert_theirs(found["test"], sets.test.images_nhwc)
    assert found["test"].folder == tmp_path / "photos" and found["test"].names[0].startswith("test/class ")

    rows = [f"test/{entry.name},{entry.label}\n" for entry in reversed(own_files(tmp_path / "photos/test")["train"])]
    (tmp_path / "photos/list.csv").write_text("path,label\n" + "".join(rows))
    listed = small_recipe(**{"data.name": str(tmp_path / "photos/list.csv")})
    assert_theirs(image_files(listed)["train"], load_data(listed).train.images_nhwc)

    np.save(tmp_path / "images.npy", images(20).images_nhwc)
    assert image_files(small_recipe(**{"data.name": str(tmp_path / "images.npy")})) == {}
    assert image_files(small_recipe()) == {}


def test_explain_names_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = dataset()
    write_images(tmp_path / "photos/train", train)
    wrong = test.labels.copy()
    wrong[:3] = (wrong[:3] + 1) % 4
    write_images(tmp_path / "photos/test", ImageSet(test.images_nhwc, wrong, test.classes))
    changes = {"model.name": "compact", "schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    wanted = small_recipe(**{"data.name": str(tmp_path / "photos"), **changes})
    run = onecycle.train(wanted, out=tmp_path / "run", observer=SILENT)
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert call("explain", str(run.path), "--data-dir", str(tmp_path / "moved"), "--count", "2") == 0
    said = capsys.readouterr().out
    found = run.explain(data_dir=tmp_path / "moved", count=2)
    assert found.files is not None and found.images is not None
    assert_theirs(found.files, found.images.images_nhwc)
    first = found.to_dict()["mistakes"][0]
    assert first["file"] == f"test/{test.classes[wrong[first['index']]]}/{first['index']:05}.png"
    assert f"\n{first['file']} " in said and f"images are in {tmp_path / 'moved'}\n" in said
    assert call("explain", str(run.path), "--json") == 0  # which are not there any more
    gone = json.loads(capsys.readouterr().out)
    assert gone["folder"] is None and gone["mistakes"][0]["file"] is None


def test_a_cross_validation_names_the_files_of_its_rows(tmp_path: Path) -> None:
    place = write_images(tmp_path / "photos/train", images(80))
    write_images(tmp_path / "photos/val", images(20, 1))
    one_epoch = {"schedule.epochs": 1, "schedule.peak_epoch": 0.5, "data.train_limit": 60, "data.batch_size": 20}
    wanted = small_recipe(**{"data.name": str(place.parent), **one_epoch})
    found = onecycle.cross_validate(wanted, model=net(), folds=2, out=tmp_path / "folds", observer=SILENT)
    files = found.image_files()
    assert files is not None and len(files) == len(found.labels) == 60
    assert [Path(name).parent.name for name in files.names] == [found.classes[label] for label in found.labels]
    assert any(name.startswith("val/") for name in files.names)
    for left, said in ((3, "the images are not those of"), (0, "no images to train on")):
        for path in sorted(place.rglob("*.png"))[left:]:
            path.unlink()
        with pytest.raises(UserError, match=said):
            found.image_files()
    arrays = onecycle.cross_validate(
        small_recipe(**one_epoch), model=net(), data=dataset(), folds=2, out=tmp_path / "own", observer=SILENT
    )
    assert arrays.image_files() is None
