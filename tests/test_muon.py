"""Muon against plain loops in float64, against the singular value decomposition, and against torch's own optimisers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from muon_reference import (
    OPTIONS,
    RATES,
    Array,
    gradients,
    net,
    reference_orthogonalized,
    reference_run,
)
from torch import nn

from onecycle import optim, recipe
from onecycle.checkpoint import load_state, save_state
from onecycle.errors import UserError
from onecycle.optim import Muon, muon, orthogonalized


def run(model: nn.Module, rates: tuple[float, ...] = RATES, **options: Any) -> list[Array]:
    """The parameters after steps with these gradients."""
    optimizer = muon(model, **{**OPTIONS, **options})
    parameters = list(model.parameters())
    for step, rate in enumerate(rates):
        optim.set_lr(optimizer, rate)
        for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
    return [parameter.detach().double().numpy() for parameter in parameters]


def test_what_has_four_dimensions_and_is_no_filter_is_left_to_adamw() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
            self.scale, self.head = nn.Parameter(torch.full((1, 4, 1, 1), 3.0)), nn.Linear(4, 2)

    model = Scaled()
    gain, direction = model.conv.parametrizations.weight.original0, model.conv.parametrizations.weight.original1  # type: ignore[union-attr]
    optimizer = muon(model, weight_decay=0.5)
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    assert groups[:2] == [[id(direction)], [id(model.head.weight)]]
    assert set(groups[2]) == {id(gain), id(model.scale), id(model.conv.bias), id(model.head.bias)}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0.5, 0]
    before = [one.detach().clone() for one in (gain, model.scale)]
    optim.set_lr(optimizer, 0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert torch.equal(gain, before[0]) and torch.equal(model.scale, before[1])  # their norm is not held


# --- against the reference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_in_float64_are_those_of_the_reference(channels_last: bool) -> None:
    model = net().double()
    expected = reference_run(model)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert not all(parameter.is_contiguous() for parameter in model.parameters())
    for found, wanted in zip(run(model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


def test_steps_in_float32_are_near_to_them() -> None:
    for found, wanted in zip(run(net()), reference_run(net()), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    batch=st.lists(st.integers(1, 3), max_size=2),
    iterations=st.integers(1, 8),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_matrices_of_any_shape_are_orthogonalised_as_their_singular_values_say(
    rows: int, columns: int, batch: list[int], iterations: int, size: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    matrices = size * torch.randn(*batch, rows, columns, generator=random, dtype=torch.float64)
    found = orthogonalized(matrices, iterations)
    assert found.shape == matrices.shape
    flat, found_flat = matrices.reshape(-1, rows, columns).numpy(), found.reshape(-1, rows, columns).numpy()
    for matrix, one in zip(flat, found_flat, strict=True):
        np.testing.assert_allclose(one, reference_orthogonalized(matrix, iterations), atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (16, 16), (1, 9), (64, 216)])
def test_five_iterations_bring_singular_values_near_those_of_the_polar_factor(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(3).normal(size=shape)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    assert (s / np.linalg.norm(s)).min() > 1e-3  # what the quintic lifts in five steps
    found = orthogonalized(torch.from_numpy(matrix), 5).numpy()
    new = np.diag(u.T @ found @ vt.T)
    assert new.min() > 0.5 and new.max() < 1.5
    np.testing.assert_allclose(found, u @ np.diag(new) @ vt, atol=1e-6)  # the singular vectors stay


# --- against torch's own -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_the_directions_are_those_of_torchs_muon() -> None:
    """Which multiplies in bfloat16, has no convolutions, holds no norm, and averages where this one sums."""
    torch.manual_seed(1)
    theirs = nn.Parameter(torch.randn(16, 36))
    ours = nn.Parameter(theirs.detach().view(16, 4, 3, 3).clone())
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, momentum=0.6, ns_steps=5)
    optimizer = Muon([{"params": [ours], "momentum": 0.6, "iterations": 5, "lr": 0.1}])
    for step in range(4):
        gradient = torch.randn(16, 36, generator=torch.Generator().manual_seed(step))
        theirs.grad, ours.grad = gradient.clone(), gradient.view_as(ours).clone()
        before, held = theirs.detach().clone(), ours.detach() * (4 / ours.detach().norm())
        reference.step()
        with torch.autocast("cpu", torch.bfloat16):
            optimizer.step()
        their_direction, our_direction = before - theirs.detach(), (held - ours.detach()).view(16, 36)
        assert torch.cosine_similarity(their_direction.flatten(), our_direction.flatten(), 0) > 0.999
        torch.testing.assert_close(our_direction, their_direction, rtol=0.0, atol=5e-3)  # rounding; rows are 0.1 long


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.95), 1e-10), ((0.0, 0.999), 1e-3)])
def test_what_is_no_filter_moves_as_with_torchs_adamw(decay: float, betas: tuple[float, float], eps: float) -> None:
    """The weights decay; biases, scales and shifts do not."""
    torch.manual_seed(2)
    ours = nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3), nn.Conv1d(3, 2, 1)).double()
    theirs = copy.deepcopy(ours)
    optimizer = muon(ours, adamw_lr=0.25, betas=betas, eps=eps, weight_decay=decay)
    kernels = [parameter for parameter in theirs.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in theirs.parameters() if parameter.ndim == 1]
    groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=betas, eps=eps)
    for step in range(12):
        rate = RATES[step % len(RATES)]
        optim.set_lr(optimizer, rate)
        for group in reference.param_groups:
            group["lr"] = 0.25 * rate
        for one, other, gradient in zip(
            ours.parameters(), theirs.parameters(), gradients(list(ours.parameters()), step), strict=True
        ):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_biases_and_scales_do_not_decay() -> None:
    """Where all gradients are 0, decay is all that moves anything; filters have their norm instead."""
    model = net()
    optimizer = muon(model, weight_decay=0.5, adamw_lr=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optim.set_lr(optimizer, 0.2)
    optimizer.step()
    for old, new in zip(before, model.parameters(), strict=True):
        if new.ndim == 2:
            torch.testing.assert_close(new, old * (1 - 0.2 * 0.1 * 0.5))
        elif new.ndim == 1:
            assert torch.equal(new, old)
        else:
            torch.testing.assert_close(new / new.norm(), old / old.norm())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.5, 0.0]


def test_the_steps_that_are_done_go_through_a_checkpoint(tmp_path: Path) -> None:
    """AdamW's averages are corrected by their number; a run that goes on is bit for bit the one that did not stop."""
    whole, stopped = net(), net()
    optimizers = [muon(whole, **OPTIONS), muon(stopped, **OPTIONS)]

    def step(model: nn.Module, optimizer: Muon, numbers: range) -> None:
        parameters = list(model.parameters())
        for number in numbers:
            optim.set_lr(optimizer, RATES[number % len(RATES)])
            for parameter, gradient in zip(parameters, gradients(parameters, number), strict=True):
                parameter.grad = gradient
            optimizer.step()

    step(whole, optimizers[0], range(7))
    step(stopped, optimizers[1], range(3))
    save_state(tmp_path / "state", {"net": dict(stopped.state_dict()), "optimizer": optimizers[1].state_dict()})
    saved = load_state(tmp_path / "state")
    assert [group["steps"] for group in saved["optimizer"]["param_groups"]] == [0, 3, 3]
    resumed = net()
    resumed.load_state_dict(saved["net"])
    restored = muon(resumed, **OPTIONS)
    optim.restore(restored, saved["optimizer"])
    step(resumed, restored, range(3, 7))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [group["steps"] for group in restored.param_groups] == [0, 7, 7]


# --- norms -------------------------------------------------------------------------------------------------------


def test_a_rate_of_0_changes_nothing_but_the_norm() -> None:
    model = net()
    before = [parameter.detach().double().numpy().copy() for parameter in model.parameters()]
    after = run(model, (0.0, 0.0))
    for old, new in zip(before, after, strict=True):
        if old.ndim == 4:
            np.testing.assert_allclose(np.linalg.norm(new), math.sqrt(len(new)), rtol=1e-6)
            np.testing.assert_allclose(new / np.linalg.norm(new), old / np.linalg.norm(old), atol=1e-7)
        else:
            np.testing.assert_array_equal(new, old)


def test_the_size_of_a_filters_gradient_does_not_matter() -> None:
    weights = []
    for size in (1.0, 1000.0):
        conv = nn.Conv2d(2, 4, 3, bias=False)
        nn.init.orthogonal_(conv.weight)
        conv.weight.data = torch.linspace(-1, 1, conv.weight.numel()).view_as(conv.weight)
        conv.weight.grad = size * torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(1))
        optimizer = muon(conv)
        optim.set_lr(optimizer, 0.3)
        optimizer.step()
        weights.append(conv.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


def test_filters_that_begin_at_0_begin_to_learn() -> None:
    """As the last convs of residual blocks often do; 0 has no norm that could be scaled."""
    conv = nn.Conv2d(2, 4, 3, bias=False)
    nn.init.zeros_(conv.weight)
    optimizer = muon(conv)
    optim.set_lr(optimizer, 0.1)
    conv.weight.grad = torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    assert torch.isfinite(conv.weight).all() and conv.weight.norm() > 0
    conv.weight.grad.zero_()
    optimizer.step()
    assert torch.isfinite(conv.weight).all()


# --- memory formats, groups, autocast ----------------------------------------------------------------------------


def test_channels_last_filters_get_the_same_update() -> None:
    model = net()
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for one, two in zip(run(model), run(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert [p.stride() for p in model.parameters()] != [p.stride() for p in other.parameters()]


def test_filters_of_one_shape_that_go_together_get_what_each_gets_alone() -> None:
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(6, 5, 3, 3)) for _ in range(3)]
    alone = [nn.Parameter(p.detach().clone()) for p in together]
    shared: dict[str, Any] = {"momentum": 0.6, "iterations": 3, "lr": 0.2}
    optimizers = [Muon([{"params": together, **shared}]), Muon([{"params": [p], **shared} for p in alone])]
    for step in range(3):
        for some in (together, alone):
            for parameter, gradient in zip(some, gradients(some, step), strict=True):
                parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_autocast_multiplies_in_bfloat16_and_keeps_the_weights_in_float32() -> None:
    exact, rounded = net(), net()
    run(exact)
    with torch.autocast("cpu", torch.bfloat16):
        run(rounded)
    for one, other in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert other.dtype == torch.float32
        if one.ndim == 4:
            assert not torch.equal(one, other)
            assert (one - other).norm() < 0.02 * one.norm()
        else:
            assert torch.equal(one, other)


# --- nets of other kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "kinds"),
    [
        (net, [4, 2, 1]),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), [2, 1]),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 2, bias=False), nn.Flatten()), [4]),
        (lambda: nn.BatchNorm2d(3), [1]),
        (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Conv1d(1, 2, 2, bias=False)), [5, 1]),
    ],
)
def test_every_parameter_that_trains_is_in_one_group(build: Callable[[], nn.Module], kinds: list[int]) -> None:
    model = build()
    optimizer = muon(model)
    assert [group["params"][0].ndim for group in optimizer.param_groups] == kinds
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert [group["iterations"] > 0 for group in optimizer.param_groups] == [kind == 4 for kind in kinds]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    run(model)
    for old, parameter in zip(before, model.parameters(), strict=True):
        assert torch.isfinite(parameter).all() and not torch.equal(old, parameter)


def test_what_does_not_train_or_has_no_gradient_stays() -> None:
    model = net()
    frozen, unused = model.get_parameter("0.weight").requires_grad_(False), model.get_parameter("4.weight")
    before = frozen.clone(), unused.detach().clone()
    optimizer = muon(model)
    optim.set_lr(optimizer, 0.1)
    for parameter in model.parameters():
        if parameter is not unused and parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert torch.equal(frozen, before[0]) and torch.equal(unused, before[1])
    with pytest.raises(UserError, match="no parameter that trains"):
        muon(net().requires_grad_(False))


def test_each_group_has_its_rate() -> None:
    optimizer = muon(net(), adamw_lr=0.5)
    optim.set_lr(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05, 0.05])


def test_without_a_rate_of_their_own_all_but_the_filters_stay() -> None:
    model = net()
    before = [parameter.detach().double().numpy().copy() for parameter in model.parameters()]
    for old, new in zip(before, run(model, adamw_lr=0.0), strict=True):
        assert np.array_equal(old, new) == (old.ndim != 4)


def test_a_closure_gives_the_loss() -> None:
    linear = nn.Linear(2, 1)
    optimizer = muon(linear)

    def closure() -> float:
        optimizer.zero_grad()
        loss = linear(torch.ones(3, 2)).square().mean()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) > 0 and linear.weight.grad is not None  # type: ignore[operator]
    assert optimizer.step() is None


def test_it_learns() -> None:
    model, random = net(), torch.Generator().manual_seed(5)
    labels = torch.arange(32) % 4
    images_nchw = torch.randn(32, 3, 8, 8, generator=random) + nn.functional.one_hot(labels, 4)[:, :3, None, None]
    optimizer = muon(model)
    losses = []
    for step in range(20):
        optim.set_lr(optimizer, 0.3 * (1 - step / 20))
        loss = nn.functional.cross_entropy(model(images_nchw), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1.2 and losses[-1] < 0.5 * losses[0], losses


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("momentum", 1.0, "less than 1"),
        ("adamw_lr", -0.1, "greater than or equal to 0"),
        ("betas", [0.9, 1.0], "less than 1"),
        ("betas", [0.9], "two numbers"),
        ("eps", -1e-8, "greater than or equal to 0"),
        ("iterations", 0, "greater than or equal to 1"),
        ("iterations", 21, "less than or equal to 20"),
        ("iterations", 2.5, "integer"),
        ("weight_decay", math.inf, "finite"),
        ("bias_lr", 2.0, "unknown key"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(option: str, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        recipe("custom_resnet", optimizer={"name": "muon", option: value})
    assert len(caught.value.problems) == 1 and f"optimizer.{option}" in caught.value.problems[0]
