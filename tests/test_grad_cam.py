"""Class activation maps beside captum's, and beside the formulas of the papers written out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import small
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from onecycle import UserError
from onecycle.explanation import METHODS, class_activation, default_layer
from onecycle.explanation.grad_cam import class_activations
from onecycle.models import compact, custom_resnet

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 3, 2, 1])


def lively(net: nn.Module) -> nn.Module:
    """The net in eval mode with norms that do something, as those of a trained net do."""
    torch.manual_seed(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.1, 0.6)
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "custom_resnet": lively(custom_resnet(10)),
        "log_softmax": lively(custom_resnet(10, order="conv-norm-relu-pool", log_softmax=True)),
        "compact": lively(compact(10)),
        "small": lively(small.net()),
    }


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        *(("custom_resnet", name) for name in ("layer3", "layer3.1", "layer3.1.1", "layer2", "prep.0")),
        *(("custom_resnet", name) for name in ("layer3.1.1.1", "layer3.1.1.2")),  # before, and of, an in-place ReLU
        *(("log_softmax", name) for name in ("layer3", "layer2.2", "layer1.0.1")),
        *(("compact", name) for name in ("block4", "block3", "block4.1", "block4.2.1", "block4.2.2", "block1.0.0")),
        *(("small", name) for name in "012345"),
    ],
)
def test_grad_cam_is_captums(nets: dict[str, nn.Module], net: str, layer: str) -> None:
    found = class_activation(nets[net], IMAGES, TARGETS, layer=layer)
    reference = LayerGradCam(nets[net], nets[net].get_submodule(layer))
    expected = reference.attribute(IMAGES.clone().requires_grad_(), TARGETS, relu_attributions=True)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.max() > 0
    torch.testing.assert_close(found, expected[:, 0].detach(), rtol=1e-5, atol=1e-5 * found.max().item())


def slow_grad_cam_pp(features: Tensor, head: Callable[[Tensor], Tensor], target: int) -> Tensor:
    """Equations 5 and 10 for one image and Y = exp(logit), pixel by pixel, by differentiating three times."""
    features = features.detach().double().requires_grad_()
    score = head(features[None])[0, target].exp()
    (first,) = torch.autograd.grad(score, features, create_graph=True)
    weights = torch.zeros(len(features), dtype=torch.float64)
    for channel, row, column in torch.cartesian_prod(*map(torch.arange, features.shape)).tolist():
        place = channel, row, column
        (second,) = torch.autograd.grad(first[place], features, create_graph=True)
        (third,) = torch.autograd.grad(second[place], features, retain_graph=True)
        divisor = 2 * second[place] + features[channel].sum() * third[place]
        if divisor != 0:
            weights[channel] += (second[place] / divisor * first[place].relu()).item()
    # Our maps are less the factor exp(logit).
    return (weights[:, None, None] * features).sum(0).relu().detach() / score.detach()


@pytest.mark.parametrize("layer", [5, 2])
def test_grad_cam_pp_is_the_papers(nets: dict[str, nn.Module], layer: int) -> None:
    net = nets["small"]
    assert isinstance(net, nn.Sequential)
    double = copy.deepcopy(net).double()
    for module in double.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    head, images = double[layer + 1 :], IMAGES[:2]
    found = class_activation(net, images, TARGETS[:2], layer=str(layer), method="grad_cam++")
    features = double[: layer + 1](images.double())
    # The slow way at 2 x 2 and 5 x 5 pixels of 8 channels.
    for image in range(2):
        expected = slow_grad_cam_pp(features[image], head, int(TARGETS[image]))
        torch.testing.assert_close(found[image], expected.float(), rtol=1e-4, atol=1e-6)
    assert found.max() > 1e-3


def linear_head(scale: float) -> nn.Sequential:
    """One conv that keeps the image, then a linear layer whose weights are `scale` and alternate in sign."""
    conv, linear = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(48, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(3)[:, :, None, None])
        linear.weight.copy_(scale * torch.tensor([1.0, -1.0]).repeat(24).expand(2, -1))
    return nn.Sequential(conv, nn.Flatten(), linear)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e6, 1e30])
def test_grad_cam_pp_stays_finite_whatever_the_gradients(scale: float) -> None:
    images = torch.ones(1, 3, 4, 4)
    found = class_activation(linear_head(scale), images, torch.tensor([0]), layer="0", method="grad_cam++")
    # Half of a channel's 16 pixels have the gradient `scale`; alpha is 1 / (2 + 16 scale); three channels of ones.
    expected = 3 * 8 * scale / (2 + 16 * scale)
    torch.testing.assert_close(found, torch.full((1, 4, 4), expected))


def test_grad_cam_pp_gives_no_weight_where_the_divisor_is_zero() -> None:
    images = torch.tensor([1.0, -1.25]).repeat(24).view(1, 3, 4, 4)  # each channel sums to -2, and 2 + 1 * -2 = 0
    found = class_activation(linear_head(1.0), images, torch.tensor([0]), layer="0", method="grad_cam++")
    assert torch.equal(found, torch.zeros(1, 4, 4))


@pytest.mark.parametrize("method", METHODS)
def test_an_images_map_is_its_own(nets: dict[str, nn.Module], method: str) -> None:
    for name in ("custom_resnet", "compact"):
        together = class_activation(nets[name], IMAGES, TARGETS, method=method)
        for one in range(len(IMAGES)):
            alone = class_activation(nets[name], IMAGES[[one]], TARGETS[[one]], method=method)
            torch.testing.assert_close(together[one], alone[0], rtol=1e-4, atol=1e-5)


def test_several_targets_take_one_forward_pass(nets: dict[str, nn.Module]) -> None:
    net, runs = nets["compact"], []
    other = (TARGETS + 5) % 10
    hook = net.get_submodule("linear").register_forward_hook(lambda *_: runs.append(1))
    found = class_activations(net, IMAGES, [TARGETS, other])
    hook.remove()
    assert len(runs) == 1
    assert torch.equal(found[0], class_activation(net, IMAGES, TARGETS))
    assert torch.equal(found[1], class_activation(net, IMAGES, other))
    assert not torch.allclose(*found)


# --- whatever state the net and the caller are in ------------------------------------------------------------------


def state_of(net: nn.Module) -> dict[str, Any]:
    """All that a pass might change."""
    return {
        "tensors": {name: value.clone() for name, value in net.state_dict().items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()},
        "trains": [p.requires_grad for p in net.parameters()],
        "modes": [module.training for module in net.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()],
    }


def assert_same_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    for key in ("trains", "modes", "hooks"):
        assert one[key] == other[key]
    for key in ("tensors", "gradients"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


@pytest.mark.parametrize("build", [small.net, lambda: compact(4)])
def test_a_net_in_training_is_seen_as_in_evaluation_and_left_as_it_was(build: Callable[[], nn.Module]) -> None:
    net = lively(build())
    expected = class_activation(net, IMAGES, TARGETS)
    net.train()
    next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)).eval()  # frozen on purpose
    next(net.parameters()).grad = torch.ones_like(next(net.parameters()))
    before = state_of(net)
    assert torch.equal(class_activation(net, IMAGES, TARGETS), expected)
    assert_same_state(state_of(net), before)


class Failing(nn.Module):
    """Conv, then an error."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images_nchw: Tensor) -> Tensor:
        raise RuntimeError(f"no memory for {list(self.conv(images_nchw).shape)}")


@pytest.mark.parametrize("look", [lambda net: class_activation(net, IMAGES, TARGETS, layer="conv"), default_layer])
def test_a_net_that_raises_is_left_as_it_was(look: Callable[[nn.Module], object]) -> None:
    net = Failing().train()
    before = state_of(net)
    with pytest.raises(RuntimeError, match="no memory"):
        look(net)
    assert_same_state(state_of(net), before)


@pytest.mark.parametrize("method", METHODS)
def test_callers_without_gradients_and_frozen_nets_get_the_same_map(nets: dict[str, nn.Module], method: str) -> None:
    net = nets["compact"]
    expected = class_activation(net, IMAGES, TARGETS, method=method)
    frozen = copy.deepcopy(net).requires_grad_(False)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(class_activation(frozen, IMAGES * 1, TARGETS, method=method), expected)
            built = compact(10).eval()
            built.load_state_dict(net.state_dict())
            assert torch.equal(class_activation(built, IMAGES, TARGETS, method=method), expected)


def test_images_that_take_gradients_get_none(nets: dict[str, nn.Module]) -> None:
    images = IMAGES.clone().requires_grad_()
    class_activation(nets["compact"], images, TARGETS)
    assert images.grad is None
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)])
def test_nets_in_other_dtypes(nets: dict[str, nn.Module], dtype: torch.dtype, tolerance: float) -> None:
    net = copy.deepcopy(nets["small"]).to(dtype)
    found = class_activation(net, IMAGES, TARGETS, layer="5")
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, class_activation(nets["small"], IMAGES, TARGETS, layer="5"), rtol=tolerance, atol=tolerance
    )


def test_an_unknown_method_and_targets_that_do_not_fit(nets: dict[str, nn.Module]) -> None:
    net = nets["small"]
    with pytest.raises(UserError, match=r"method 'gradcam' is unknown; did you mean 'grad_cam'\?"):
        class_activation(net, IMAGES, TARGETS, method="gradcam")
    with pytest.raises(UserError, match="targets run from 0 to 4; 0 to 3 is needed, as the net has 4 classes"):
        class_activation(net, IMAGES, torch.tensor([0, 1, 4, 2]))
    with pytest.raises(UserError, match="targets run from -1 to 2"):
        class_activation(net, IMAGES, torch.tensor([0, 1, -1, 2]))
    for wrong in (TARGETS[:3], TARGETS[:, None], TARGETS.float()):
        with pytest.raises(UserError, match=r"a class an image, int64 \[4\]"):
            class_activation(net, IMAGES, wrong)


def test_maps_are_where_the_evidence_is() -> None:
    """A net that sums the red of the left for class 0 and of the right for class 1."""
    conv, linear = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2 * 16, 2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0], conv.weight[1, 0] = 1, 1
        linear.weight.zero_()
        linear.weight[0, :16] = linear.weight[1, 16:] = 1
    net = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), linear)
    images = torch.zeros(2, 3, 4, 4)
    images[0, 0, :, :2] = 1
    images[1, 0, :, 2:] = 1
    for method in METHODS:
        maps = class_activation(net, images, torch.tensor([0, 1]), layer="1", method=method)
        torch.testing.assert_close(F.normalize(maps.flatten(1)), F.normalize(images[:, 0].flatten(1)))
