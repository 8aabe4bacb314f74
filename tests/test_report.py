"""The report: what it says is checked against the stored numbers by other means, on runs of every kind."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from report_runs import Page, begun, finished, guesses, noise, pixels, report, resolved, tiny_net, views
from sklearn.metrics import confusion_matrix
from torch import nn

import onecycle
from onecycle import ImageSet, UserError
from onecycle.evaluation import evaluate, mistakes
from onecycle.explanation import explain
from onecycle.reporting import gallery as gallery_module
from onecycle.reporting import write_report
from onecycle.reporting.headline import claims_of, headline
from onecycle.reporting.making import changes, command
from onecycle.run import Run

NAMES = ("cat", "dog", "<script>alert('no')</script>", '$x$ & "y" {{ z }}', "猫 قطة बिल्ली 🐈", "W" * 200)
# The fifth is kept apart from the sentence around it, as a part of it is read from right to left.
SHOWN = [*NAMES[:4], f"\N{FIRST STRONG ISOLATE}{NAMES[4]}\N{POP DIRECTIONAL ISOLATE}", "W" * 40 + "…" + "W" * 39]


@pytest.fixture
def images() -> ImageSet:
    return noise(120, NAMES)


@pytest.fixture
def run(tmp_path: Path, images: ImageSet) -> Run:
    """About two thirds of 120 images of six classes with awkward names are right."""
    return finished(tmp_path / "run", images, guesses(images, 2.0))


@pytest.fixture
def page(run: Run, images: ImageSet) -> Page:
    return Page(report(run, images, train_images=images))


def test_the_page_asks_nothing_of_anywhere(page: Page) -> None:
    addresses = [
        attributes[key]
        for _, attributes, _ in page.elements
        for key in ("src", "href", "xlink:href", "action", "srcset", "data", "poster")
        if key in attributes
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    styles = "".join(text for _, text in page.all("style")) + "".join(a.get("style", "") for _, a, _ in page.elements)
    assert "@import" not in styles
    assert not re.search(r"url\((?!#)", styles)
    policy = next(a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_id_is_one_of_a_kind_and_every_reference_finds_its_own(page: Page) -> None:
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {
        a[key][1:] for _, a, _ in page.elements for key in ("href", "xlink:href") if a.get(key, "").startswith("#")
    }
    wanted |= set(re.findall(r"url\(#([^)]*)\)", page.source))
    wanted |= {a["aria-labelledby"] for _, a, _ in page.elements if "aria-labelledby" in a}
    assert wanted <= set(ids)


def test_every_picture_says_in_words_what_it_shows(page: Page) -> None:
    assert page.all("img")
    assert all(attributes.get("alt") for attributes, _ in page.all("img"))
    charts = page.all("svg", role="img")
    assert len(charts) == len(page.all("svg")) == 5
    assert all(len(attributes["aria-label"]) > 40 for attributes, _ in charts)
    assert len(page.all("desc")) == len(charts)


def test_the_headline_is_that_of_the_predictions(page: Page, run: Run) -> None:
    stored = run.predictions()
    right = stored["logits"].argmax(1) == stored["labels"]
    assert page.all("p", class_="result")[0][1].startswith(f"{100 * right.mean():.1f}%")
    by_class = [right[stored["labels"] == one].mean() for one in range(6)]
    worst = int(np.argmin(by_class))
    assert f"The worst class is {SHOWN[worst]} ({100 * by_class[worst]:.1f}%)" in page.section("result")
    assert f"{(~right).sum()} of 120 images are wrong" in page.section("failures")


def test_names_of_classes_are_text_and_nothing_else(page: Page) -> None:
    assert "<script>alert" not in page.source
    assert not [text for attributes, text in page.all("script") if text.startswith("alert")]
    heads = [text for attributes, text in page.all("th", scope="col")]
    assert heads[:6] == SHOWN
    held = next(text for attributes, text in page.all("script") if attributes.get("id") == "classes")
    assert json.loads(held)["names"] == SHOWN


def test_the_matrix_is_that_of_scikit_learn(page: Page, run: Run) -> None:
    stored = run.predictions()
    expected = confusion_matrix(stored["labels"], stored["logits"].argmax(1), labels=range(6))
    cells = [
        int(text) for a, text in page.all("td") if a.get("class", "").split()[:1] in (["right"], ["wrong"], ["none"])
    ]
    np.testing.assert_array_equal(np.reshape(cells, (6, 6)), expected)
    for attributes, text in page.all("button"):
        if "data-predicted" in attributes and "aria-label" in attributes:
            true, predicted = int(attributes["data-true"]), int(attributes["data-predicted"])
            assert int(text) == expected[true, predicted]
            assert attributes["aria-label"].startswith(f"{SHOWN[true]} taken for {SHOWN[predicted]}: {text} of 20")


def test_the_bars_are_the_classes_from_the_worst_to_the_best(page: Page, run: Run) -> None:
    stored = run.predictions()
    matrix = confusion_matrix(stored["labels"], stored["logits"].argmax(1), labels=range(6))
    recall = sorted(matrix.diagonal() / matrix.sum(1))
    widths = [float(re.findall(r"width: ([\d.]+)%", a["style"])[0]) for a, _ in page.all("span", class_="fill")]
    assert widths == pytest.approx([100 * one for one in recall], abs=0.01)


def test_the_gallery_holds_every_mistake_without_loss(page: Page, run: Run, images: ImageSet) -> None:
    stored = run.predictions()
    found = mistakes(stored["logits"], stored["labels"])
    cards = page.cards()
    assert [(int(a["data-true"]), int(a["data-predicted"])) for a in cards] == list(
        zip(found.true.tolist(), found.predicted.tolist(), strict=True)
    )
    shown = [a for a, _ in page.all("img") if " taken for " in a["alt"]]
    for attributes, index in zip(shown, found.index, strict=True):
        assert attributes["alt"].startswith(f"Image {index}: ")
        np.testing.assert_array_equal(pixels(attributes["src"]), images.images_nhwc[index])


def test_the_maps_of_the_cards_are_grad_cam_s(page: Page, run: Run, images: ImageSet) -> None:
    stored, (mean, std) = run.predictions(), run.recipe.data.statistics
    found = mistakes(stored["logits"], stored["labels"])
    expected = explain(tiny_net(6), images, found, mean=mean, std=std)
    list_of_cards = next(a for a, _ in page.all("ul", class_="cards") if "data-width" in a)
    assert (list_of_cards["data-height"], list_of_cards["data-width"]) == ("8", "8")
    packed = [a["data-maps"].split(",") for a in page.cards()]
    for column, of_class in enumerate((expected.of_predicted, expected.of_true)):
        maps = [np.frombuffer(base64.b64decode(one[column]), np.uint8).reshape(8, 8) / 255 for one in packed]
        np.testing.assert_allclose(maps, of_class, atol=0.5 / 255 + 1e-6)


def test_of_more_mistakes_than_there_is_room_for_every_confusion_keeps_its_most_confident(
    run: Run, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = run.predictions()
    found = mistakes(stored["logits"], stored["labels"])
    pairs = set(zip(found.true.tolist(), found.predicted.tolist(), strict=True))
    monkeypatch.setattr(gallery_module, "MOST_CARDS", len(pairs) + 3)
    page = Page(report(run, images))
    cards = page.cards()
    assert len(cards) == len(pairs) + 3 < len(found)
    assert {(int(a["data-true"]), int(a["data-predicted"])) for a in cards} == pairs
    shown = [int(re.findall(r"Image (\d+):", a["alt"])[0]) for a, _ in page.all("img") if " taken for " in a["alt"]]
    first: dict[tuple[int, int], int] = {}
    for true, predicted, index in zip(found.true, found.predicted, found.index, strict=True):
        first.setdefault((true, predicted), index)
    assert set(first.values()) <= set(shown)
    assert shown == sorted(shown, key=found.index.tolist().index)
    assert f"{len(cards)} of the {len(found)} wrong images" in page.section("gallery")


def test_a_thousand_classes_stay_under_four_megabytes(tmp_path: Path) -> None:
    names = [f"<{number}> & " + "ж" * 190 for number in range(1000)]
    images = noise(3000, names, size=64)
    run = finished(tmp_path / "run", images, guesses(images, 0.5), resolved(**{"data.image_size": 64}))
    path = report(run, images, train_images=images)
    assert path.stat().st_size < 4_000_000
    page = Page(path)
    assert "classes with the largest confusions" in page.section("failures")
    assert "The 30 worst and the 10 best of 1,000 classes" in page.section("failures")
    assert "as many as there is room for" in page.section("gallery")
    assert len(page.all("tr")) < 200


def test_large_maps_stay_under_four_megabytes_too(tmp_path: Path) -> None:
    images = noise(1500, ["a", "b"])
    run = finished(tmp_path / "run", images, guesses(images, 0.1))
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *pooled).eval()
    path = write_report(run, images=images, net=net, device=torch.device("cpu"))
    assert 2_000_000 < path.stat().st_size < 4_000_000
    page = Page(path)
    (cards,) = (a for a, _ in page.all("ul", class_="cards") if "data-width" in a)
    assert (cards["data-height"], cards["data-width"]) == ("32", "32")
    assert "as many as there is room for" in page.section("gallery")


def test_a_name_that_is_no_utf_8_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    images = noise(20, ["caf\udce9", "b"])
    page = Page(report(finished(tmp_path / "run", images, guesses(images, 0.1)), images))
    assert "caf?" in page.section("failures")


def test_the_others_of_a_large_matrix_are_summed(tmp_path: Path) -> None:
    images = noise(900, [f"class {number}" for number in range(30)])
    run = finished(tmp_path / "run", images, guesses(images, 1.5))
    page = Page(report(run, images))
    cells = page.cells("right", "wrong", "none", "others")
    side = int(len(cells) ** 0.5)
    assert side * side == len(cells) <= 400
    matrix = np.reshape(cells, (side, side))
    stored = run.predictions()
    kept = [int(text.removeprefix("class ")) for _, text in page.all("th", scope="col")[: side - 1]]
    expected = confusion_matrix(stored["labels"], stored["logits"].argmax(1), labels=range(30))
    np.testing.assert_array_equal(matrix[:-1, :-1], expected[np.ix_(kept, kept)])
    np.testing.assert_array_equal(matrix[:-1].sum(1), expected[kept].sum(1))
    np.testing.assert_array_equal(matrix[:, :-1].sum(0), expected[:, kept].sum(0))
    assert matrix.sum() == 900


def test_two_classes_of_which_one_has_no_test_images(tmp_path: Path) -> None:
    images = ImageSet(noise(20, ["a"]).images_nhwc, np.zeros(20, np.int64), ("a", "b"))
    page = Page(report(finished(tmp_path / "run", images, guesses(images, 0.5)), images))
    assert "no images in the test set" in page.section("failures")
    assert "right in the top" not in page.section("result")


def test_where_nothing_is_wrong_the_page_says_so(tmp_path: Path) -> None:
    images = noise(20, ["a", "b"])
    page = Page(report(finished(tmp_path / "run", images, guesses(images, 100.0)), images))
    assert "Every one of them is right." in page.section("result")
    assert "There is no wrong image to look at." in page.section("gallery")
    assert not page.all("table", class_="matrix")


def test_one_wrong_image(tmp_path: Path) -> None:
    images = noise(20, ["a", "b"])
    logits = guesses(images, 100.0)
    logits[3] *= -1
    page = Page(report(finished(tmp_path / "run", images, logits), images))
    assert "The one wrong image." in page.section("gallery")
    assert len(page.cards()) == 1


def test_without_the_images_the_page_says_why(run: Run) -> None:
    page = Page(report(run, None, why_no_images="cifar-10-batches-py is not there"))
    assert "The images are left out: cifar-10-batches-py is not there." in page.section("gallery")
    assert page.all("table", class_="matrix")
    assert not page.all("img")


def test_without_the_net_the_images_have_no_switch(run: Run, images: ImageSet) -> None:
    page = Page(report(run, images, with_net=False))
    assert not page.all("fieldset")
    assert page.cards()


def test_what_would_not_make_it_again_is_not_said_to(tmp_path: Path, images: ImageSet) -> None:
    again, logits = "makes it again", guesses(images, 1.0)
    usual = finished(tmp_path / "usual", images, logits)
    assert again in Page(report(usual, None)).section("making")
    own = resolved().evolve(data={"name": "own:images"})
    said = Page(report(finished(tmp_path / "own", images, logits, own), None)).section("making")
    assert "handed in from Python" in said and "onecycle train" not in said.partition("handed in")[2][:200]
    changed = {"step": 8, "changed": {"schedule.lr_max": [0.002, 0.02]}}
    usual.add_resumption(usual.recipe, changed)
    said = Page(report(usual, None)).section("making")
    assert again not in said and "trains from the start by" in said
    assert "Resumed after step 8, with schedule.lr_max 0.02 instead of 0.002." in said


@pytest.mark.parametrize(("right", "count", "shown"), [(357, 360, ""), (9408, 10000, "± 0.5"), (1, 1, "")])
def test_a_symmetric_interval_alone_is_shown_by_its_half(right: int, count: int, shown: str, tmp_path: Path) -> None:
    labels = np.zeros(count, np.int64)
    logits = np.zeros((count, 2), np.float32)
    logits[np.arange(count), (np.arange(count) >= right).astype(int)] = 1
    run = finished(tmp_path / "run", ImageSet(np.zeros((count, 1, 1, 3), np.uint8), labels, ("a", "b")), logits)
    assert headline(run, evaluate(logits, labels, ("a", "b"))).spread == shown


def test_the_page_is_the_same_each_time(run: Run, images: ImageSet, tmp_path: Path) -> None:
    one, other = (report(run, images, out=tmp_path / name).read_bytes() for name in ("one.html", "other.html"))
    assert one == other


def test_the_page_is_the_run_s_own_file_where_nothing_else_is_said(run: Run, images: ImageSet) -> None:
    assert report(run, images) == run.path / "report.html"


def test_the_range_test_is_shown_and_damage_to_it_is_one_line(run: Run) -> None:
    rates = np.geomspace(1e-5, 1, 40)
    sweep = {"seed": 0, "end": "range", "lrs": rates.tolist(), "losses": np.linspace(2.3, 1.0, 40).tolist()}
    run.write_lr_range({"lr_min": 2e-4, "lr_max": 0.02, "sweeps": [sweep], "warnings": ["lr_max is unstable"]})
    page = Page(report(run, None))
    assert "1 sweep of a rising learning rate chose 0.0002 to begin with and 0.02 for the peak" in page.text
    assert "The choice is in doubt: lr_max is unstable." in page.text
    assert "0.02 for the peak. The recipe has 0.001 as its lr_min instead." in page.text
    assert len(page.all("svg")) == 6
    run.write_lr_range({"lr_min": 2e-4})
    with pytest.raises(UserError, match=r"lr_range\.json: damaged"):
        report(run, None)


@pytest.mark.parametrize(
    ("lr_min", "lr_max", "said"),
    [
        (0.001, 0.02, ""),
        (0.001, 0.5, "The recipe has 0.02 as its lr_max"),
        (0.1, 0.5, "The recipe has rates of its own"),
    ],
)
def test_rates_that_a_training_did_not_take_are_told(lr_min: float, lr_max: float, said: str, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", steps=4)
    sweep = {"seed": 0, "end": "range", "lrs": np.geomspace(1e-5, 1, 40).tolist(), "losses": [2.0] * 40}
    run.write_lr_range({"lr_min": lr_min, "lr_max": lr_max, "sweeps": [sweep], "warnings": []})
    text = Page(report(run, None)).text
    assert "for the peak." in text and said in text and ("instead." in text) == bool(said)


def test_images_of_another_set_are_refused(run: Run) -> None:
    with pytest.raises(UserError, match=r"predictions\.npz: its predictions are of 120 other images"):
        report(run, noise(60, NAMES))


def test_predictions_that_do_not_fit_the_classes_are_one_line(run: Run, images: ImageSet) -> None:
    (run.path / "model.json").write_text(json.dumps({"classes": ["a", "b"]}))
    with pytest.raises(UserError, match=r"predictions\.npz: ") as caught:
        report(run, None)
    assert "\n" not in str(caught.value)


def test_the_recipe_is_compared_to_the_shipped_one() -> None:
    mine = onecycle.recipe("custom_resnet", **{"schedule.epochs": 3, "schedule.peak_epoch": 1, "precision": "fp32"})
    assert changes(mine, onecycle.recipe("custom_resnet")) == {
        "schedule.epochs": ("3", "24"),
        "schedule.peak_epoch": ("1", "5"),
    }


def test_a_rate_that_was_found_is_no_departure_from_a_recipe_that_says_find() -> None:
    shipped = onecycle.recipe("era_s10_package")
    resolved = shipped.evolve(schedule={"lr_min": 1.2e-5, "lr_max": 1.9e-3})
    assert changes(resolved, shipped, found=True) == {}
    assert list(changes(resolved, shipped)) == ["schedule.lr_min", "schedule.lr_max"], "set by hand"


@pytest.mark.parametrize(
    "name, kinds",
    [("custom_resnet", ["measured"]), ("digits", ["measured"]), ("era1_s10_compact", ["measured", "published"])],
)
def test_the_claims_are_what_the_docstring_says(name: str, kinds: list[str]) -> None:
    claims = claims_of(onecycle.recipe(name))
    assert list(claims) == kinds
    document = " ".join((onecycle.registry.load("recipe", name).__doc__ or "").split())
    for kind, words in claims.items():
        assert f"{kind.title()}: {words}" in document
        assert "%" in words
        assert "onecycle train" not in words


def test_a_recipe_of_one_s_own_has_no_claims() -> None:
    assert claims_of(onecycle.recipe("digits").evolve(name="mine")) == {}


def test_the_command_is_what_was_called() -> None:
    assert command(["/x/onecycle/__main__.py", "train", "a b"]) == "onecycle train 'a b'"
    assert command(["/usr/bin/ipykernel_launcher.py", "-f", "x"]) is None
    assert command(None) is None


def test_the_augmented_samples_are_the_loader_s(run: Run, images: ImageSet) -> None:
    page = Page(report(run, images, train_images=images))
    subset = images.subset(np.arange(5))  # the classes come in turn
    mean, std = run.recipe.data.statistics
    expected = (views(subset, run.recipe) * std + mean) * 255
    first = [pixels(a["src"]) for a, _ in page.all("img") if a["alt"].endswith("augmented in epoch 1")]
    np.testing.assert_allclose(first, expected, atol=0.51)
