"""Predictions of arrays, images and files, from Python and from the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.special import softmax
from small import dataset, images, net, small_recipe
from test_cli import call, refused

import onecycle
from onecycle import ImageSet, Observer, Predictions, Run, UserError
from onecycle.prediction import Predictor, predict_files, stream

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a named net, which the command line can build, in bfloat16."""
    out = tmp_path_factory.mktemp("named") / "run"
    changes = {"schedule.epochs": 1, "schedule.peak_epoch": 0.5, "data.batch_size": 25}
    wanted = small_recipe(**{"model.name": "compact", "precision": "bf16", **changes})
    return onecycle.train(wanted, data=dataset(), out=out, observer=Observer())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images as PNG files, 0.png to 59.png, the later ones in a folder below."""
    top = tmp_path_factory.mktemp("photos")
    (top / "more").mkdir()
    for number, pixels in enumerate(dataset().test.images_nhwc):
        Image.fromarray(pixels).save((top if number < 40 else top / "more") / f"{number}.png")
    return top


def stored(run: Run) -> np.ndarray:
    return run.predictions()["logits"]


def test_the_logits_of_the_test_set_are_bit_for_bit_those_that_the_run_stored(run: Run, folder: Path) -> None:
    test = dataset().test
    expected = stored(run)
    from_set = run.predict(test)
    np.testing.assert_array_equal(from_set.logits, expected)
    assert from_set.logits.dtype == np.float32 and from_set.paths is None and len(from_set) == 60
    np.testing.assert_array_equal(run.predict(test.images_nhwc).logits, expected)
    from_files = onecycle.predict(str(run.path), folder)
    np.testing.assert_array_equal(from_files.logits, expected)
    assert from_files.paths is not None
    assert [path.stem for path in from_files.paths] == [str(number) for number in range(60)]
    named = run.predict([folder / "more", folder / "3.png"])
    np.testing.assert_allclose(named.logits, expected[[*range(40, 60), 3]], atol=0.05)


def test_one_image_is_the_same_in_each_form(run: Run, folder: Path) -> None:
    pixels = dataset().test.images_nhwc[7]
    expected = run.predict(pixels[None]).logits
    for form in (pixels, Image.fromarray(pixels), folder / "7.png", str(folder / "7.png"), [Image.fromarray(pixels)]):
        np.testing.assert_array_equal(run.predict(form).logits, expected)
    mixed = run.predict([Image.fromarray(pixels), folder / "7.png"])
    np.testing.assert_array_equal(mixed.logits[0], mixed.logits[1])


def on_black(picture: Image.Image) -> Image.Image:
    square = Image.new("RGB", (32, 32))
    square.paste(picture, ((32 - picture.width) // 2, (32 - picture.height) // 2))
    return square


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_other_sizes_are_fitted_as_the_recipe_says(run: Run, tmp_path: Path, monkeypatch, fit: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "one.png")
    evolved = run.recipe.evolve(data={"fit": fit})
    monkeypatch.setattr(Run, "recipe", property(lambda self: evolved))
    size, bicubic = (32, 32), Image.Resampling.BICUBIC
    by_pillow = {
        "crop": lambda: ImageOps.fit(picture, size, bicubic),
        "pad": lambda: on_black(ImageOps.contain(picture, size, bicubic)),
        "squash": lambda: picture.resize(size, bicubic),
    }[fit]()
    expected = run.predict(np.asarray(by_pillow)).logits
    for form in (pixels, pixels[None], picture, tmp_path / "one.png"):
        np.testing.assert_array_equal(run.predict(form).logits, expected)


def test_an_image_of_pillows_is_turned_and_laid_over_white_as_its_file_is(run: Run, tmp_path: Path) -> None:
    pixels = images(1).images_nhwc[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    clear = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 4), np.uint8), "RGBA")
    clear.save(tmp_path / "clear.png")
    for name in ("turned.png", "clear.png"):
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(run.predict(picture).logits, run.predict(tmp_path / name).logits)
    assert not np.array_equal(run.predict(pixels).logits, run.predict(tmp_path / "turned.png").logits)


def test_a_net_that_was_handed_in_and_larger_batches(tmp_path: Path) -> None:
    own = onecycle.train(
        small_recipe(**{"schedule.epochs": 1, "schedule.peak_epoch": 0.5}),
        model=net(),
        data=dataset(),
        out=tmp_path / "own",
        observer=Observer(),
    )
    np.testing.assert_array_equal(own.predict(dataset().test, model=net()).logits, stored(own))
    few = own.predict(dataset().test, model=net(), batch_size=7)
    np.testing.assert_allclose(few.logits, stored(own), rtol=0.05, atol=0.05)
    with pytest.raises(UserError, match="was handed in from Python"):
        own.predict(dataset().test)


def test_views_are_averaged(run: Run) -> None:
    pixels = dataset().test.images_nhwc[:25]
    both = [run.predict(one).logits for one in (pixels, np.ascontiguousarray(pixels[:, :, ::-1]))]
    np.testing.assert_allclose(run.predict(pixels, tta="flip").logits, np.mean(both, axis=0), atol=0.02)
    assert not np.array_equal(run.predict(pixels, tta="flip_shift").logits, run.predict(pixels, tta="flip").logits)
    with pytest.raises(UserError, match="tta 'flop' is not allowed; did you mean 'flip'"):
        run.predict(pixels, tta="flop")


def test_what_follows_from_logits() -> None:
    logits = np.array([[1.0, 3.0, 3.0], [2.0, -1.0, 0.5]], np.float32)
    found = Predictions(logits, ("cat", "<dog>", "emu"))
    np.testing.assert_allclose(found.probabilities, softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    assert found.labels.tolist() == [1, 0] and found.names == ["<dog>", "cat"]
    top = found.top(2)
    assert [[one.name for one in row] for row in top] == [["<dog>", "emu"], ["cat", "emu"]]
    assert top[1][0].probability == pytest.approx(found.probabilities[1, 0]) and top[1][0].label == 0
    assert found.to_list(1)[1] == {"top": [{"class": "cat", "label": 0, "probability": top[1][0].probability}]}
    assert repr(found).splitlines()[1].startswith("image 0  <dog> ")
    page = found._repr_html_()
    assert "&lt;dog&gt;" in page and "<dog>" not in page
    assert [len(row) for row in found.top()] == [3, 3] and len(found.to_list()[0]["top"]) == 3  # five, if there are
    for wrong in (0, 4):
        with pytest.raises(UserError, match=f"top {wrong} is not allowed; 1 to 3, as there are 3 classes"):
            found.top(wrong)


def test_a_notebook_shows_the_first_images(run: Run) -> None:
    page = run.predict(dataset().test)._repr_html_()
    assert page.count("<img src=") == 12 and "... and 48 more" in page
    assert page.startswith("<div>Predictions of 60 images in 4 classes</div>")


def test_a_notebook_shows_images_of_several_batches(run: Run, folder: Path) -> None:
    found = run.predict(folder, batch_size=5)
    np.testing.assert_array_equal(found.first_nhwc, dataset().test.images_nhwc[:12])
    assert found._repr_html_().count("<img src=") == 12
    assert run.predict(folder / "more", batch_size=7)._repr_html_().count("<img src=") == 12


def test_what_cannot_be_predicted_is_refused(run: Run, tmp_path: Path) -> None:
    pixels = dataset().test.images_nhwc[:2]
    for wrong, said in (
        (pixels.astype(np.float32), r"float32 \[2, 32, 32, 3\]; uint8 \[n, height, width, 3\] is needed"),
        (pixels.transpose(0, 3, 1, 2), r"uint8 \[2, 3, 32, 32\]"),
        (pixels[:0], "no images to predict"),
        ([], "no images to predict"),
        (3, "of the type int"),
        ([pixels[0]], "image 0 is of the type ndarray"),
        (tmp_path, "no image files"),
        (tmp_path / "none.png", "none.png: no such file"),
        (pixels[..., 0], r"uint8 \[2, 32, 32\]"),
        ("", "a path is empty"),
        (
            [Image.new("RGB", (9, 9)), "none.png", "nor.png"],
            r"none\.png: .*\nnor\.png: .*",
        ),
    ):
        with pytest.raises(UserError, match=said):
            run.predict(wrong)
    for size in (0, 2.5, "3"):
        with pytest.raises(UserError, match=f"batch size {size!r} is not allowed"):
            run.predict(pixels, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="model is a function; the net that was handed in for the training is needed"):
        run.predict(pixels, model=net)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="damaged 'skipp' is not allowed; did you mean 'skip'"):
        run.predict(pixels, damaged="skipp")  # type: ignore[arg-type]


@pytest.fixture
def some_damaged(tmp_path: Path, folder: Path) -> Path:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    (tmp_path / "cut.png").write_bytes((folder / "3.png").read_bytes()[:500])
    (tmp_path / "words.jpg").write_text("no image")
    (tmp_path / ".hidden.png").write_text("hidden")
    (tmp_path / "notes.txt").write_text("no image by its name")
    return tmp_path


def test_damaged_files_are_named_and_the_rest_predicted(run: Run, some_damaged: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"cut\.png: damaged") as refusal:
        run.predict(some_damaged)
    assert [problem.split(": ")[0].split("/")[-1] for problem in refusal.value.problems] == ["cut.png", "words.jpg"]
    found = run.predict(some_damaged, damaged="skip")
    assert found.paths == (some_damaged / "1.png", some_damaged / "2.png")
    assert [path.name for path in found.damaged] == ["cut.png", "words.jpg"]
    assert "2 files could not be read" in found._repr_html_() and "cut.png: damaged" in repr(found)
    np.testing.assert_array_equal(found.logits, run.predict([folder / "1.png", folder / "2.png"]).logits)
    with pytest.raises(UserError, match=r"words\.jpg: no image"):
        run.predict([some_damaged / "words.jpg"], damaged="skip")


def test_names_may_be_odd(run: Run, some_damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "a\rb,\nc.png"
    shutil.copy(some_damaged / "1.png", odd)
    long = tmp_path / f"{'x' * 300}.png"
    capsys.readouterr()
    assert call("predict", str(run.path), str(odd), str(long), str(tmp_path / "none.png"), "--format", "csv") == 2
    shown = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(shown.out, newline=""))
    assert row["path"] == str(odd) and shown.out.count("\r") == 1
    assert "none.png" in shown.err and "3 files" not in shown.err and "2 files could not be read" in shown.err


def test_the_command_writes_every_format_and_names_what_is_damaged(
    run: Run, some_damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run.predict(some_damaged, damaged="skip")
    capsys.readouterr()
    said = {}
    for form in ("table", "csv", "json"):
        assert call("predict", str(run.path), str(some_damaged), "--format", form, "--top-k", "2") == 2
        shown = capsys.readouterr()
        lines = [line for line in shown.err.splitlines() if "error" in line]
        assert [line.split(": ")[2].split("/")[-1] for line in lines[:2]] == ["cut.png", "words.jpg"]
        assert lines[2] == "onecycle: error: 2 files could not be read; what could be is predicted"
        said[form] = shown.out
    rows = list(csv.DictReader(io.StringIO(said["csv"])))
    assert [row["path"] for row in rows] == [str(path) for path in expected.paths or ()]
    for row, ranked in zip(rows, expected.top(2), strict=True):
        assert [row["class_1"], row["class_2"]] == [one.name for one in ranked]
        assert float(row["probability_2"]) == pytest.approx(ranked[1].probability, rel=1e-5)
    document = json.loads(said["json"])
    assert document["images"] == expected.to_list(2)
    assert document["classes"] == list(run.classes) and document["run"] == str(run.path)
    assert [Path(one["path"]).name for one in document["damaged"]] == ["cut.png", "words.jpg"]
    table = said["table"].splitlines()
    assert len(table) == 2 and table[0].startswith(str(some_damaged / "1.png")) and "%" in table[0]


def test_a_list_on_stdin_and_a_file_for_the_output(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = f"{folder / '5.png'}\n\n{folder / 'more'}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    out = tmp_path / "found.json"
    assert call("predict", str(run.path), "-", "--json", "--out", str(out), "--batch-size", "8") == 0
    said = capsys.readouterr()
    assert said.out == "" and f"wrote {out}" in said.err and "prediction: 21/21" in said.err
    document = json.loads(out.read_text())
    names = [Path(one["path"]).name for one in document["images"]]
    assert names == ["5.png", *(f"{number}.png" for number in range(40, 60))]
    assert [len(one["top"]) for one in document["images"]] == [3] * 21
    assert document["damaged"] == []


def test_the_command_refuses_before_it_writes(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, one = str(run.path), str(folder / "1.png")
    assert "top 5 is not allowed; 1 to 4" in refused(capsys, "predict", place, one, "--top-k", "5")
    assert "did you mean 'json'" in refused(capsys, "predict", place, one, "--format", "jason")
    assert "one of them" in refused(capsys, "predict", place, one, "--format", "csv", "--json")
    out = tmp_path / "kept.csv"
    out.write_text("kept")
    assert "no image files" in refused(capsys, "predict", place, str(tmp_path), "--format", "csv", "--out", str(out))
    assert out.read_text() == "kept" and list(tmp_path.iterdir()) == [out]
    assert "no such file" in refused(capsys, "predict", place, str(tmp_path / "none.png"), "--out", str(out))
    assert out.read_text() == "kept" and list(tmp_path.iterdir()) == [out]
    photo = tmp_path / "photo.PNG"
    photo.write_bytes((folder / "1.png").read_bytes())
    said = refused(capsys, "predict", place, str(photo), "--out", str(photo))
    assert "photo.PNG: has the name of an image; another, such as " in said
    assert photo.read_bytes() == (folder / "1.png").read_bytes()
    assert f"--out {tmp_path}: is a folder" in refused(capsys, "predict", place, one, "--out", str(tmp_path))
    said = refused(capsys, "predict", place, one, "--out", str(run.path / "report.html"))
    assert "is the report of the run" in said
    assert "cannot be written" in refused(capsys, "predict", place, one, "--out", str(tmp_path / ("x" * 300)))
    assert "PATH '' is empty" in refused(capsys, "predict", place, "")
    for size in ("99999999999999999999", "1000001"):
        assert "a whole number from 1 to 1,000,000" in refused(capsys, "predict", place, one, "--batch-size", size)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "no images to predict" in refused(capsys, "predict", place, "-")
    assert "holds no recipe.yaml" in refused(capsys, "predict", str(folder), one)


def test_of_many_files_few_are_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def decoded(path: Path, side: int, fit: str) -> np.ndarray:
        read.append(path)
        return np.zeros((side, side, 3), np.uint8)

    monkeypatch.setattr(stream, "decode_file", decoded)
    batches = predict_files(Predictor(run, device=CPU), [Path(str(number)) for number in range(10_000)], "crop")
    sizes = [len(next(batches).paths) for _ in range(3)]
    assert sizes == [25, 25, 25]
    assert len(read) < 75 + 2 * 25 + 4 * 16
    batches.close()


def test_no_thread_and_no_warning_is_left(run: Run, folder: Path) -> None:
    import threading

    def batches() -> Iterator[object]:
        return predict_files(Predictor(run, device=CPU), [folder / "1.png"] * 500, "crop")

    next(begun := batches())
    begun.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_set_of_another_kind_of_class_names_is_only_looked_at(run: Run) -> None:
    other = ImageSet(images(3).images_nhwc, images(3).labels, ("a", "b", "c", "d"))
    assert set(run.predict(other).names) <= set(run.classes)
