"""Integrated gradients: the axioms of the paper, and beside an integral of our own."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import small
import torch
from torch import Tensor, nn

from onecycle import UserError
from onecycle.evaluation import mistakes
from onecycle.explanation import integrated_gradients, saliency
from onecycle.models import compact

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 3, 2])


def logits_above_baseline(net: nn.Module) -> Tensor:
    with torch.no_grad():
        difference: Tensor = net(IMAGES) - net(torch.zeros_like(IMAGES))
    return difference.gather(1, TARGETS[:, None])[:, 0]


def lively_compact() -> nn.Module:
    """With fresh norms, which neither shrink nor grow what they get, its logits would hardly depend on the image."""
    net = compact(4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            nn.init.constant_(module.running_var, 0.2)
    return net


@pytest.mark.parametrize("build", [small.net, lively_compact])
def test_the_pixels_sum_to_the_logit_less_that_of_the_mean_colour(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = build().eval()
    found = integrated_gradients(net, IMAGES, TARGETS, steps=100)
    assert found.shape == (3, 32, 32)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    expected = logits_above_baseline(net)
    assert expected.abs().min() > 0.01
    torch.testing.assert_close(found.sum((1, 2)), expected, rtol=0.02, atol=2e-3)


def test_of_a_linear_net_they_are_weight_times_pixel() -> None:
    linear = nn.Linear(3 * 32 * 32, 4)
    found = integrated_gradients(nn.Sequential(nn.Flatten(), linear), IMAGES, TARGETS, steps=1)
    expected = (linear.weight[TARGETS].view_as(IMAGES) * IMAGES).sum(1).detach()
    torch.testing.assert_close(found, expected)
    assert (found < 0).any()


def test_they_are_the_integral_of_the_gradient_along_the_line() -> None:
    net = small.net().eval()
    found = integrated_gradients(net, IMAGES[:1], TARGETS[:1], steps=300)
    total = torch.zeros_like(IMAGES[:1])
    for share in (torch.arange(1000) + 0.5) / 1000:
        image = (share * IMAGES[:1]).requires_grad_()
        total += torch.autograd.grad(net(image)[0, TARGETS[0]], image)[0] / 1000
    expected = (total * IMAGES[:1]).sum(1)
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_the_net_is_left_as_it_was_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small.net().requires_grad_(False).eval()
    expected = integrated_gradients(net, IMAGES, TARGETS)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    monkeypatch.setattr(sys.modules[integrated_gradients.__module__], "_AT_ONCE", 2)
    with torch.inference_mode():
        found = integrated_gradients(net, IMAGES * 1, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("batch_size", [2, 128])
def test_of_mistakes_it_is_that_of_the_normalised_images_for_both_classes(batch_size: int) -> None:
    images, net = small.images(6), small.net().eval()
    found = mistakes(np.eye(4, dtype=np.float32)[(images.labels + 1) % 4], images.labels)
    maps = saliency(net, images, found, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), steps=5, batch_size=batch_size)
    pixels = (images.images_nhwc[found.index] / 255 - (0.5, 0.4, 0.3)) / (0.2, 0.25, 0.3)
    normalized = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    for one, targets in ((maps.of_predicted, found.predicted), (maps.of_true, found.true)):
        expected = integrated_gradients(net, normalized, torch.from_numpy(targets), steps=5)
        np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5)
    assert len(maps) == 6
    none = saliency(net, images, mistakes(np.eye(4, dtype=np.float32), np.arange(4)), mean=(0, 0, 0), std=(1, 1, 1))
    assert len(none) == 0


def test_what_does_not_fit_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small.net()
    with pytest.raises(UserError, match="steps 0 is below 1"):
        integrated_gradients(net, IMAGES, TARGETS, steps=0)
    with pytest.raises(UserError, match="targets run from 1 to 4; 0 to 3 is needed"):
        integrated_gradients(net, IMAGES, TARGETS + 1)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"need captum; pip install 'onecycle\[explain\]'"):
        integrated_gradients(net, IMAGES, TARGETS)
