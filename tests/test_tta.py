"""Test-time augmentation: the views one image at a time, and only those images that the net is least sure of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_predictions import predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small import dataset, images, net, small_recipe
from torch import Tensor, nn

import onecycle
from onecycle import Observer, Run, UserError, recipe
from onecycle.data import Loader
from onecycle.evaluation import Labels, Logits, least_sure, predict_logits, predict_unsure
from onecycle.recipes import assignments

SLOW: dict[str, Any] = {"schedule.lr_max": 2e-3, "schedule.lr_min": 1e-3, "precision": "fp32"}  # far from all right


def loader(count: int = 30, batch_size: int = 8) -> Loader:
    return Loader(images(count, 4), batch_size=batch_size)


def views(image_hwc: NDArray[Any]) -> list[tuple[float, NDArray[Any]]]:
    """By hand: what each view weighs, and the view."""
    h, w, _ = image_hwc.shape
    padded = np.pad(image_hwc, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    kept, down_right, up_left = padded[1 : h + 1, 1 : w + 1], padded[0:h, 0:w], padded[2 : h + 2, 2 : w + 2]
    weighted = [(0.25, kept), (0.125, down_right), (0.125, up_left)]
    return [(weight, view[:, ::step]) for weight, view in weighted for step in (1, -1)]


def reference(model: nn.Module, batches: Loader, count: int, tta: str) -> NDArray[np.float64]:
    """One image and one view at a time, in float64."""
    model = model.double().eval()
    rows = []
    for batch in batches.in_order():
        for image in batch.images_nchw.double().permute(0, 2, 3, 1).numpy():
            seen = {"none": [(1.0, image)], "flip": [(0.5, image), (0.5, image[:, ::-1])], "flip_shift": views(image)}
            row: Any = 0.0
            for weight, view in seen[tta]:
                with torch.no_grad():
                    one = model(torch.from_numpy(view.transpose(2, 0, 1)[None].copy()))[0]
                row = row + weight * one.numpy()
            rows.append(row)
    assert len(rows) == count
    return np.stack(rows)


@pytest.mark.parametrize("tta", ["none", "flip", "flip_shift"])
def test_logits_are_those_of_each_view_by_itself(tta: str) -> None:
    model, batches = net(seed=3), loader()
    found = predict_logits(model, batches, tta=tta)
    assert model.training and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), reference(model, batches, 30, tta), rtol=1e-4, atol=1e-5)


def test_some_samples_come_in_the_order_asked_for() -> None:
    model, batches = net(), loader()
    wanted = torch.tensor([17, 3, 29, 3, 0, 8, 9, 10, 11, 12])
    some = predict_logits(model, batches, samples=wanted)
    torch.testing.assert_close(some, predict_logits(model, batches)[wanted], rtol=1e-5, atol=1e-6)
    seen = torch.cat([batch.samples for batch in batches.in_order(wanted)])
    assert torch.equal(seen, wanted)


@settings(max_examples=80, deadline=None)
@given(one=predictions(), share=st.floats(0.001, 1.0))
def test_the_least_sure_have_the_smallest_margins(one: tuple[Logits, Labels], share: float) -> None:
    logits, _ = one
    found = least_sure(torch.from_numpy(logits), share).tolist()
    assert len(found) == max(round(share * len(logits)), 1)
    assert found == sorted(set(found))
    probabilities = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities = np.sort(probabilities / probabilities.sum(1, keepdims=True), axis=1)
    margins = probabilities[:, -1] - probabilities[:, -2] if logits.shape[1] > 1 else np.zeros(len(logits))
    others = np.delete(margins, found)
    assert margins[found].max() <= others.min(initial=2.0) + 1e-6


@pytest.mark.parametrize(
    ("share", "rows"), [(0.25, [1]), (0.5, [1, 3]), (0.75, [0, 1, 3]), (1.0, [0, 1, 2, 3]), (1e-9, [1])]
)
def test_the_least_sure_by_hand(share: float, rows: list[int]) -> None:
    """The margin decides, not the largest probability: 0.40 to 0.39 is less sure than 0.35 to 0.22."""
    shares = [[0.35, 0.22, 0.22, 0.21], [0.40, 0.39, 0.11, 0.10], [0.97, 0.01, 0.01, 0.01], [0.5, 0.4, 0.05, 0.05]]
    assert least_sure(torch.tensor(shares).log() + 5, share).tolist() == rows


def test_a_share_of_a_hundred_is_that_many() -> None:
    """0.07 x 100 is a little over 7 in floating point."""
    logits = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    assert [len(least_sure(logits, percent / 100)) for percent in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("tta", ["flip", "flip_shift"])
def test_the_whole_share_is_all_views_of_all(tta: str) -> None:
    model, batches = net(), loader()
    plain = predict_logits(model, batches)
    assert torch.equal(predict_unsure(model, batches, plain, tta=tta), predict_logits(model, batches, tta=tta))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_with_a_share_only_those_rows_change(share: float) -> None:
    model, batches = net(), loader(30, 7)
    plain = predict_logits(model, batches)
    kept, seen = plain.clone(), []
    counted: list[int] = []
    model.register_forward_pre_hook(lambda module, args: counted.append(len(args[0])))
    found = predict_unsure(
        model, batches, plain, tta="flip_shift", share=share, on_batch=lambda: seen.append(len(counted))
    )
    assert torch.equal(plain, kept) and found.shape == plain.shape
    unsure = least_sure(plain, share)
    changed = (found != plain).any(1)
    assert changed.nonzero().flatten().tolist() == unsure.tolist()
    everything = predict_logits(net(), batches, tta="flip_shift")
    torch.testing.assert_close(found[unsure], everything[unsure], rtol=1e-4, atol=1e-5)
    assert len(seen) == -(-len(unsure) // 7)
    assert sum(counted) == 6 * len(unsure)  # six views of the unsure, none of the others


def test_a_net_of_one_class() -> None:
    model, batches = nn.Sequential(nn.Flatten(), nn.Linear(3072, 1)), loader(10)
    plain = predict_logits(model, batches)
    assert least_sure(plain, 0.5).tolist() == [0, 1, 2, 3, 4]
    found = predict_unsure(model, batches, plain, tta="flip", share=0.5)
    assert (found != plain).flatten().tolist() == [True] * 5 + [False] * 5


def test_on_batch_may_end_it() -> None:
    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    model, batches = net(), loader()
    plain = predict_logits(model, batches)
    with pytest.raises(Enough):
        predict_unsure(model, batches, plain, tta="flip", share=0.5, on_batch=stop)
    assert model.training


# --- in a training -----------------------------------------------------------------------------------------------


def train(out: Path, **changes: Any) -> Run:
    wanted = small_recipe(**{**SLOW, **changes})
    return onecycle.train(wanted, model=net(), data=dataset(), out=out, device="cpu", observer=Observer())


def right(logits_nk: Tensor) -> float:
    return float(np.mean(logits_nk.numpy().argmax(1) == dataset().test.labels))


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_summary_has_the_accuracy_and_what_it_cost(share: float, tmp_path: Path) -> None:
    run = train(tmp_path / "run", **{"tta": "flip_shift", "tta_share": share})
    tested = run.summary["test"]
    assert set(tested) == {"accuracy", "loss", "images", "accuracy_tta", "tta_seconds"}
    assert 0 < tested["tta_seconds"] < run.summary["wall_seconds"]
    mean, std = run.recipe.data.statistics
    batches = Loader(dataset().test, batch_size=60, mean=mean, std=std)
    trained = net()
    trained.load_state_dict(run.weights())
    plain, augmented = predict_logits(trained, batches), predict_logits(trained, batches, tta="flip_shift")
    unsure = least_sure(plain, share)
    assert tested["accuracy"] == right(plain)
    assert tested["accuracy_tta"] == right(plain.index_copy(0, unsure, augmented[unsure]))
    assert 0.2 < tested["accuracy"] < 0.95  # so that the two could differ


def test_without_it_the_summary_has_neither(tmp_path: Path) -> None:
    run = train(tmp_path / "run", **{"tta_share": 0.25})
    assert set(run.summary["test"]) == {"accuracy", "loss", "images"}


def test_it_changes_no_stored_prediction(tmp_path: Path) -> None:
    plain, augmented = train(tmp_path / "plain"), train(tmp_path / "augmented", **{"tta": "flip", "tta_share": 0.5})
    for name, value in plain.predictions().items():
        np.testing.assert_array_equal(value, augmented.predictions()[name])


@pytest.mark.parametrize(
    ("pair", "parts"),
    [
        ("tta_share=0", ["tta_share 0", "greater than 0"]),
        ("tta_share=1.1", ["tta_share 1.1", "less than or equal to 1"]),
        ("tta_share=.nan", ["tta_share nan"]),
        ("tta_share=true", ["tta_share", "not true or false"]),
        ("tta_share=most", ["tta_share 'most'", "number"]),
        ("tta=flips", ["tta 'flips'", "did you mean 'flip'"]),
        ("tta_shar=0.5", ["tta_shar", "did you mean 'tta_share'"]),
    ],
)
def test_what_cannot_be_is_one_clear_line(pair: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipe("custom_resnet", **assignments([pair]))
    (line,) = caught.value.problems
    assert all(part in line for part in parts), line
