"""Looking at runs, from Python and from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import dataset, images, net, small_recipe
from test_cli import TINY, call, refused

import onecycle
from onecycle import Dataset, ImageSet, Observer, Run, UserError
from onecycle.api import inspection, pictures, watch
from onecycle.api.explanation import _part_of_name
from onecycle.preparation import images_of, trained_net

PICTURES = {
    "augmented",
    "class_accuracy",
    "confusion",
    "curves",
    "grad_cam",
    "misclassified",
    "reliability",
    "schedule",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a net and images that were handed in; some of its answers are wrong."""
    out = tmp_path_factory.mktemp("own") / "run"
    quick = small_recipe(**{"schedule.epochs": 2, "schedule.lr_max": 0.003})
    return onecycle.train(quick, model=net(), data=dataset(), out=out, observer=Observer())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a shipped net on a named data set."""
    out = tmp_path_factory.mktemp("digits") / "run"
    assert call("train", "digits", "--set", "model.name=compact", "--out", str(out), *TINY) == 0
    return out


def test_the_stored_predictions_are_evaluated(own: Run) -> None:
    found = own.evaluate()
    assert found.accuracy == own.summary["test"]["accuracy"]
    assert found.loss == pytest.approx(own.summary["test"]["loss"], abs=1e-6)
    assert sum(one.images for one in found.by_class) == found.images == 60
    assert onecycle.load(own.path).evaluate().to_dict() == found.to_dict()
    assert onecycle.evaluate(str(own.path)).to_dict() == found.to_dict()


def test_the_net_is_run_on_other_images_of_the_same_classes(own: Run) -> None:
    same = own.evaluate(data=dataset().test, model=net())
    np.testing.assert_array_equal(same.confusion, own.evaluate().confusion)
    assert own.evaluate(data=images(8, 5), model=net()).images == 8
    assert own.evaluate(data=dataset(), model=net()).images == 60  # its test part
    other = ImageSet(images(4).images_nhwc, images(4).labels, ("a", "b", "c", "d"))
    with pytest.raises(UserError, match=r"have the classes a, b, c, d; those of .* are needed: class 0, class 1"):
        own.evaluate(data=other, model=net())
    with pytest.raises(UserError, match=r"'own:Sequential' was handed in from Python"):
        own.evaluate(data=images(8, 5))


def test_the_trained_net_gives_the_stored_logits_and_is_no_copy_of_the_one_handed_in(own: Run) -> None:
    handed = net(seed=7)
    before = {name: value.clone() for name, value in handed.state_dict().items()}
    restored = trained_net(own, model=handed, device=torch.device("cpu"))
    assert not restored.training
    for name, value in own.weights().items():
        torch.testing.assert_close(restored.state_dict()[name], value, rtol=0, atol=0)
    for name, value in handed.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    with pytest.raises(UserError, match=r"model\.safetensors: the weights are of another net"):
        trained_net(own, model=torch.nn.Linear(2, 2), device=torch.device("cpu"))


def test_weights_that_are_missing_or_damaged(own: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(own.path, tmp_path / "run"))
    (run.path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model\.safetensors: damaged; it is not what was written"):
        run.weights()
    (run.path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        run.weights()


def test_mistakes_are_explained(own: Run, tmp_path: Path) -> None:
    found = own.explain(count=3, data=dataset(), model=net(), method="grad_cam++")
    stored = own.predictions()
    wrong = stored["logits"].argmax(1) != stored["labels"]
    assert found.wrong == len(found.mistakes) == wrong.sum() > 3
    assert len(found.activations) == 3 and found.saliency is None
    described = found.to_dict()
    assert described["method"] == "grad_cam++" and len(described["mistakes"]) == 3
    assert all(wrong[one["index"]] for one in described["mistakes"])
    json.dumps(described, allow_nan=False)
    written = found.save(tmp_path / "new" / "folder", opacity=0.7)
    assert {path.stem for path in written} >= {"misclassified", "grad_cam"}
    assert all(path.stat().st_size > 5_000 for path in written)


def test_mistakes_are_listed_without_their_images(own: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = own.explain(count=2)
    assert found.images is None and found.figures() == {}
    described, whole = found.to_dict(), own.explain(count=2, data=dataset(), model=net()).to_dict()
    assert described["mistakes"] == whole["mistakes"] and described["label_errors"] == whole["label_errors"]
    assert "was handed in from Python" in described["why_no_images"] and whole["why_no_images"] == ""
    capsys.readouterr()
    assert call("explain", str(own.path)) == 0
    assert "no pictures: data 'own:images' was handed in from Python" in capsys.readouterr().out


def test_mistakes_are_chosen_by_class(own: Run) -> None:
    one = own.explain(data=dataset(), model=net()).to_dict()["mistakes"][0]
    found = own.explain(true=one["true"], predicted=one["predicted"], data=dataset(), model=net()).to_dict()
    assert found["mistakes"][0] == one and found["chosen"] < found["wrong"]
    assert {(each["true"], each["predicted"]) for each in found["mistakes"]} == {(one["true"], one["predicted"])}


def test_a_report_without_what_was_handed_in_says_so(own: Run, tmp_path: Path) -> None:
    page = own.report(out=tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "was handed in from Python" in page
    whole = own.report(out=tmp_path / "whole.html", data=dataset(), model=net()).read_text(encoding="utf-8")
    assert "was handed in from Python" not in whole and len(whole) > len(page)
    with pytest.raises(UserError, match="not those that the run began with"):
        own.report(data=Dataset(images(200, 5), images(60, 6)))


def test_a_finished_training_is_drawn_and_reported(own: Run, tmp_path: Path, drawn: None) -> None:
    run = Run.open(shutil.copytree(own.path, tmp_path / "run"))
    pictures.finish(run, images_of(run, data=dataset()), net(), torch.device("cpu"), Observer())
    assert {path.stem for path in run.plots.glob("*.png")} - {"label_errors"} == PICTURES
    assert "<html" in (run.path / "report.html").read_text(encoding="utf-8")


def test_pictures_and_report_can_be_left_for_later(tmp_path: Path, drawn: None) -> None:
    given: dict[str, Any] = {"model": net(), "data": dataset(), "observer": Observer()}
    run = onecycle.train(small_recipe(), out=tmp_path / "run", report=False, **given)
    assert run.finished and not run.complete and not list(run.plots.glob("*"))
    onecycle.resume(run.path, report=False, **given)
    assert not run.complete
    onecycle.resume(run.path, **given)
    assert run.complete and (run.plots / "curves.png").exists()


def test_runs_are_compared(own: Run, tmp_path: Path) -> None:
    other = shutil.copytree(own.path, tmp_path / "other")
    with pytest.raises(UserError, match="data and data_dir are for the images of a page; out names it"):
        onecycle.compare(own, other, data_dir=tmp_path)
    found = onecycle.compare(own, other, out=tmp_path / "page.html", data=dataset())
    assert found.differences[0].difference == 0 and found.differences[0].p == 1
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_evaluate_on_the_command_line(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call("evaluate", str(digits)) == 0
    assert "of 360 test images right" in capsys.readouterr().out
    assert call("evaluate", str(digits), "--json") == 0
    stored = json.loads(capsys.readouterr().out)
    assert stored["run"] == str(digits) and stored["images"] == 360
    assert call("evaluate", str(digits), "--data", "digits", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["confusion"] == stored["confusion"]


def test_explain_on_the_command_line(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert call("explain", str(digits), "--count", "4", "--out", str(tmp_path / "pictures")) == 0
    said = capsys.readouterr().out
    assert "4 of " in said and f"{tmp_path}/pictures/grad_cam.png" in said
    assert call("explain", str(digits), "--count", "2", "--layer", "block3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layer"] == "block3" and len(found["mistakes"]) == 2
    assert all(Path(path).exists() for path in found["pictures"])
    whole = {path: path.read_bytes() for path in (digits / "plots").glob("*.png")}
    chosen = found["mistakes"][0]
    assert call("explain", str(digits), "--true", chosen["true"], "--predicted", chosen["predicted"], "--json") == 0
    names = {Path(path).stem for path in json.loads(capsys.readouterr().out)["pictures"]} - {"label_errors"}
    assert names == {f"{one}-{chosen['true']}-taken-for-{chosen['predicted']}" for one in ("misclassified", "grad_cam")}
    assert all(path.read_bytes() == pixels for path, pixels in whole.items())
    assert "did you mean 'block3'" in refused(capsys, "explain", str(digits), "--layer", "blok3")
    assert "class 'x' is unknown" in refused(capsys, "explain", str(digits), "--true", "x")
    assert "method" in refused(capsys, "explain", str(digits), "--method", "grad")
    assert "opacity" in refused(capsys, "explain", str(digits), "--opacity", "2")
    assert "count" in refused(capsys, "explain", str(digits), "--count", "0")


def test_pictures_of_another_choice_have_another_name() -> None:
    choices = (
        "images of a b",
        "images of a-b",
        "images of 🐭",
        "images of 🐱",
        "taken for c",
        "taken for c++",
        "x" * 60,
    )
    names = [_part_of_name(one) for one in (*choices, "x" * 61)]
    assert len(set(names)) == len(names) and names[0] == "-images-of-a-b"
    assert all(len(name) < 75 and name.isprintable() and "/" not in name for name in names)
    assert _part_of_name("") == ""


def test_report_and_compare_on_the_command_line(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call("report", str(digits), "--watch", "--out", str(tmp_path / "report.html")) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/report.html\n"
    other = shutil.copytree(digits, tmp_path / "other")
    assert call("compare", str(digits), str(other), "--out", str(tmp_path / "comparison.html")) == 0
    assert f"wrote {tmp_path}/comparison.html" in capsys.readouterr().out
    assert call("compare", str(digits), str(other), "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 360
    assert "2 to" in refused(capsys, "compare", str(digits))


def test_options_that_would_do_nothing_are_refused(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--data-dir", "elsewhere"), ("--device", "cpu")):
        assert f"{option} goes with --data; without it" in refused(capsys, "evaluate", str(digits), option, value)


def test_a_page_whose_images_are_others_does_not_load_itself_anew_for_ever(
    own: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("the images are not those that the run began with")

    page = tmp_path / "page.html"
    page.write_text('<meta http-equiv="refresh" content="5">')  # as it was while the training went on
    monkeypatch.setattr(inspection, "report", refuse)
    with pytest.raises(UserError, match="are not those"):
        list(watch(own, out=page))
    assert 'http-equiv="refresh"' not in page.read_text(encoding="utf-8")


def test_a_page_takes_the_place_of_no_file_of_a_run(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in digits.rglob("*") if path.is_file()}
    checkpoint = next((digits / "checkpoints").iterdir()).relative_to(digits)
    for name in ("model.safetensors", "predictions.npz", "recipe.yaml", checkpoint):
        for command in (["report", str(digits)], ["report", "--watch", str(digits)], ["compare", *[str(digits)] * 2]):
            said = refused(capsys, *command, "--out", str(digits / name)).strip()
            assert said.endswith(f"is a file of the run {digits}; name another place, such as {digits}/page.html")
    assert before == {path: path.read_bytes() for path in digits.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["evaluate", "explain", "report", "compare"])
def test_a_folder_that_is_no_run(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [str(tmp_path)] if command == "compare" else []
    assert "holds no recipe.yaml" in refused(capsys, command, str(tmp_path), *more)
    assert "no such folder" in refused(capsys, command, str(tmp_path / "none"), *more)


def test_damaged_predictions_are_one_line(own: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.open(shutil.copytree(own.path, tmp_path / "run"))
    np.savez(
        run.path / "predictions.npz",
        logits=np.zeros((60, 3), np.float32),
        labels=np.zeros(60, np.int64),
        index=np.arange(60),
    )
    for command in ("evaluate", "explain", "report"):
        assert "predictions.npz: " in refused(capsys, command, str(run.path))
