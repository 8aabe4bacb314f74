"""One's own images as arrays, and as the rows of a CSV file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_images import own_cache, write_levels, write_plain  # noqa: F401  # the fixture of every test
from test_own_data import levels, refused

from onecycle.data import arrays, own_images

PIXELS = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
LABELS = np.array([1, 0, 1, 0])
ROWS = "path,label\nb/2.png,dog\na/1.png,cat\nb/1.png,cat\na/2.png,dog\n"
FILES = {"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": 4}


# --- .npz and .npy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "classes", "parts"),
    [
        ({"images": PIXELS, "labels": LABELS}, ("0", "1"), 1),
        ({"x": PIXELS, "y": LABELS.astype(np.uint8), "classes": np.array(["cat", "dog"])}, ("cat", "dog"), 1),
        ({"x": PIXELS, "y": np.array(["dog", "cat", "dog", "cat"])}, ("cat", "dog"), 1),
        ({"x": PIXELS, "y": np.array([b"b", b"a", b"b", b"a"]), "classes": np.array([b"a", b"b"])}, ("a", "b"), 1),
        ({"x": PIXELS, "y": 7 * LABELS + 3}, ("3", "10"), 1),
        ({"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS}, ("0", "1"), 2),
        (
            {f"{part}_{what}": {"images": PIXELS, "labels": LABELS[:, None]}[what]
             for part in ("train", "val", "test") for what in ("images", "labels")},
            ("0", "1"),
            3,
        ),
    ],
)  # fmt: skip
def test_npz(tmp_path: Path, stored: dict[str, Any], classes: tuple[str, ...], parts: int) -> None:
    np.savez(tmp_path / "set.npz", **stored)
    found = own_images(tmp_path / "set.npz", image_size=8)
    there = [part for part in (found.train, found.val, found.test) if part is not None]
    assert len(there) == parts and found.notes == ()
    for part in there:
        np.testing.assert_array_equal(part.images_nhwc, PIXELS)
        assert part.labels.tolist() == [1, 0, 1, 0] and part.classes == classes


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 1)])
def test_grey_levels_become_three_equal_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = PIXELS[..., :1].reshape(shape)
    np.savez_compressed(tmp_path / "set.npz", x=grey, y=LABELS, other=LABELS)
    found = own_images(tmp_path / "set.npz", image_size=8)
    np.testing.assert_array_equal(found.train.images_nhwc, np.stack([PIXELS[..., 0]] * 3, axis=-1))
    assert found.notes == (f"{tmp_path}/set.npz: left out: the arrays other",)


def test_npy_is_mapped(tmp_path: Path) -> None:
    for name in ("", "test_"):
        np.save(tmp_path / f"{name}images.npy", PIXELS)
        np.save(tmp_path / f"{name}labels.npy", LABELS)
    (tmp_path / "classes.txt").write_text("Katze\nHündin\n", encoding="utf-8")
    found = own_images(tmp_path / "images.npy", image_size=8)
    assert isinstance(found.train.images_nhwc, np.memmap) and found.test is not None
    np.testing.assert_array_equal(found.train.images_nhwc, PIXELS)
    assert found.train.classes == found.test.classes == ("Katze", "Hündin")


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"data": PIXELS, "target": LABELS}, "has data, target; images and labels (or x and y"),
        ({"x": PIXELS / 255, "y": LABELS}, "x are float64 [4, 8, 8, 3]; uint8 [N, side, side, 3] is needed"),
        ({"x": PIXELS.transpose(0, 3, 1, 2), "y": LABELS}, "x are uint8 [4, 3, 8, 8]"),
        ({"x": PIXELS[:, :6], "y": LABELS}, "the images have 6 x 8 pixels: square ones are needed"),
        ({"x": np.repeat(PIXELS, 2, 2).repeat(2, 1), "y": LABELS}, "data.image_size=16 fits them"),
        (
            {"x": np.zeros((2, 513, 513, 3), np.uint8), "y": LABELS[:2]},
            "513 x 513 pixels: sides of 8 to 512 are",
        ),
        ({"x": PIXELS[:, :7, :7], "y": LABELS}, "7 x 7 pixels: sides of 8 to 512 are needed"),
        ({"x": PIXELS, "y": np.array(["a", "", "b", "a"]), "classes": np.array(["a", "b"])}, "label '' is none of"),
        ({"x": PIXELS, "y": LABELS[:3]}, "4 images and 3 labels to train"),
        ({"x": PIXELS, "y": LABELS / 2}, "y are float64 [4]; whole numbers or names [N] are needed"),
        ({"x": PIXELS, "y": np.eye(4, dtype=int)}, "y are int64 [4, 4]"),
        ({"x": PIXELS, "y": 0 * LABELS}, "one class, 0 to train"),
        ({"x": PIXELS, "y": LABELS - 1, "classes": np.array(["a", "b"])}, "labels run from -1 to 0; 0 to 1 is needed"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "a"])}, "the classes are a, a; two or more"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "b", "c"])}, "no images of c to train"),
        ({"x": PIXELS, "y": np.array(list("abca")), "classes": np.array(["a", "b"])}, "label 'c' is none of"),
        ({"x": PIXELS, "y": LABELS, "classes": LABELS}, "classes are int64 [4]; names are needed"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "\x1b[2J"])}, "characters that cannot be printed"),
        ({"x": np.array([{}] * 4, object), "y": LABELS}, "cannot be read, or is damaged (Object arrays cannot be"),
        ({"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:0], "y_test": LABELS[:0]}, "the test part has no im"),
        ({"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS + 1}, "2 in the test part is not"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS.astype(str)},
            "the labels are numbers for train, text for test; the same kind is needed in each part",
        ),
    ],
)
def test_arrays_that_are_no_set(tmp_path: Path, stored: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "set.npz", **stored)
    [line] = refused(tmp_path / "set.npz")
    assert said in line and line.startswith(f"{tmp_path}/set.npz: ")


def test_files_that_are_no_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "set.npz", x=PIXELS, y=LABELS)
    whole = (tmp_path / "set.npz").read_bytes()
    for name, content in {"cut.npz": whole[:-40], "text.npz": b"text", "images.npy": b"text"}.items():
        (tmp_path / name).write_bytes(content)
        [line] = refused(tmp_path / name)
        assert line.startswith(f"{tmp_path}/{name}: cannot be read, or is damaged"), line
    (tmp_path / "flipped.npz").write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
    [line] = refused(tmp_path / "flipped.npz")
    assert "Bad CRC-32" in line
    monkeypatch.setattr(arrays, "_memory", lambda: 1000.0)
    [line] = refused(tmp_path / "set.npz")
    assert "more than the memory that is free, 0.0 GB" in line and "images.npy" in line
    np.save(tmp_path / "images.npy", PIXELS)
    [line] = refused(tmp_path / "images.npy")
    assert line.startswith(f"{tmp_path}/labels.npy: no such file")
    (tmp_path / "other.npy").write_bytes(b"")
    (tmp_path / "set.zip").write_bytes(b"")
    for name, said in {"other.npy": "named otherwise", "set.zip": "another kind", "x": "no such folder"}.items():
        [line] = refused(tmp_path / name)
        assert line.startswith(f"{tmp_path}/{name}: {said}")


# --- CSV ---------------------------------------------------------------------------------------------------------


def test_csv_keeps_the_order_of_its_rows(tmp_path: Path) -> None:
    write_levels(tmp_path, FILES)
    (tmp_path / "set.csv").write_text("\ufeff" + ROWS.replace("\n", "\r\n"), encoding="utf-8")
    found = own_images(tmp_path / "set.csv", image_size=8)
    assert levels(found.train) == [4, 1, 3, 2] and found.train.labels.tolist() == [1, 0, 0, 1]
    assert found.train.classes == ("cat", "dog") and (found.val, found.test, found.notes) == (None, None, ())


def test_csv_with_parts(tmp_path: Path) -> None:
    write_levels(tmp_path, FILES)
    rows = "label,weight,split,path\ncat,1,train,a/1.png\ndog,1,,a/2.png\ncat,2,Valid,b/1.png\ndog,2,test,b/2.png\n"
    (tmp_path / "set.csv").write_text(rows)
    found = own_images(tmp_path / "set.csv", image_size=8)
    assert found.val is not None and found.test is not None
    assert [levels(part) for part in (found.train, found.val, found.test)] == [[1, 2], [3], [4]]
    assert found.notes[0] == f"{tmp_path}/set.csv: left out: the columns 'weight'"


def test_rows_that_are_wrong_are_named_by_their_lines(tmp_path: Path) -> None:
    place = write_levels(tmp_path / "set", FILES)
    write_plain(tmp_path / "outside.png")
    (place / "link.png").symlink_to(tmp_path / "outside.png")
    rows = ["../outside.png,cat,", f"{tmp_path}/outside.png,cat,", "link.png,cat,", "a/1.png,cat,", "./a/1.png,cat,"]
    rows += [",cat,", "a/2.png, ,", "b/1.png,cat,dev", "b/2.png,\x07,"]
    (place / "set.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    out = "leads out of the folder of the CSV file; images must lie in it"
    wanted = [f"../outside.png {out}", f"{tmp_path}/outside.png {out}", f"link.png {out}", "", "there already, at"]
    wanted += ["the path is empty", "the label is empty", "split 'dev' is not allowed", "cannot be printed"]
    lines = refused(place / "set.csv")
    assert len(lines) == 8
    for line, (number, said) in zip(lines, [(n, one) for n, one in enumerate(wanted, 2) if one], strict=True):
        assert line.startswith(f"{place}/set.csv:{number}: ") and said in line
    (place / "set.csv").write_text("path,label\n" + 50 * "/etc/passwd,cat\n")
    lines = refused(place / "set.csv")
    assert len(lines) == 21 and lines[-1] == f"{place}/set.csv: 50 rows are wrong in all"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the first line has nothing; path,label"),
        (b"path,label,label\n1.png,a,b\n", "the heading 'label' is there twice; each once"),
        (b"file,class\n1.png,a\n", "the first line has 'file', 'class'; path,label"),
        (b"path,label\n", "holds no rows"),
        (b"path,label\na/1.png\n", "set.csv:2: not a row of 2 values"),
        (b"path,label\na/1.png,cat,dog\n", "set.csv:2: not a row of 2 values"),
        (b"path,label\na/1.png,c\0t\n", "set.csv:2: not a row of 2 values"),
        (b"path,label\na/1.png,\xff\n", "not readable as CSV"),
        (b'path,label\n"a/1.png,cat\n', "not readable as CSV"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "set.csv").write_bytes(content)
    [line] = refused(tmp_path / "set.csv")
    assert said in line


def test_a_file_that_a_row_names_in_vain_is_damaged(tmp_path: Path) -> None:
    write_levels(tmp_path, FILES)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "set.csv").write_text(ROWS + "gone.png,cat\npipe.png,dog\n")
    lines = refused(tmp_path / "set.csv")
    assert lines[:2] == [f"{tmp_path}/gone.png: no such file", f"{tmp_path}/pipe.png: not a file"]
    assert levels(own_images(tmp_path / "set.csv", image_size=8, damaged="skip").train) == [4, 1, 3, 2]
