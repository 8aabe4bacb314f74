"""The range test: what a sweep does, what it leaves alone, and what it refuses."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import images, net
from torch import nn

from onecycle import UserError, lr_range
from onecycle.data import Augmentation, Loader
from onecycle.lr_range import Sweep, choose, sweep


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = Loader(images(200), batch_size=50, augmentation=Augmentation(flip="none"))
    return [(batch.images_nchw, batch.labels) for batch in loader.epoch(0)]


def swept(model: nn.Module, **options: object) -> Sweep:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return sweep(model, optimizer, batches(), **{"lr_start": 1e-4, "lr_end": 1.0, "steps": 40, **options})  # type: ignore[arg-type]


# The sweep


def test_a_sweep_trains_as_a_plain_loop_at_rising_rates() -> None:
    model = net(dropout=0.0)
    one = swept(model)
    other, losses = copy.deepcopy(model), []
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    for step in range(len(one.losses)):
        optimizer.param_groups[0]["lr"] = 1e-4 * 10 ** (4 * step / 39)
        inputs, labels = batches()[step % 4]
        loss = F.cross_entropy(other(inputs), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(one.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(one.lrs, [1e-4 * 10 ** (4 * step / 39) for step in range(len(one.lrs))])


def test_a_sweep_leaves_everything_as_it_was_bit_for_bit() -> None:
    model = net(dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for inputs, labels in batches():  # so that there are moments, statistics and gradients to leave alone
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    model.eval()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()]))
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index, union-attr]

    def losing(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        random.random(), np.random.rand()
        return F.cross_entropy(logits, labels)

    sweep(model, optimizer, batches(), lr_start=1e-4, lr_end=1.0, steps=30, loss=losing)
    assert not model.training
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # type: ignore[index]
    assert states[2] == random.getstate()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    after = optimizer.state_dict()
    assert after["param_groups"] == before[1]["param_groups"]
    for number, values in after["state"].items():
        assert all(torch.equal(value, before[1]["state"][number][key]) for key, value in values.items())
    for parameter, grad in zip(model.parameters(), before[2], strict=True):
        assert grad is not None and parameter.grad is not None and torch.equal(parameter.grad, grad)


def test_dropout_is_seeded() -> None:
    model = net(dropout=0.5)
    assert swept(model, seed=3) == swept(model, seed=3)
    assert swept(model, seed=3).losses != swept(model, seed=4).losses


def test_the_order_of_a_loader_goes_by_the_seed_alone() -> None:
    tensors = torch.utils.data.TensorDataset(*(torch.cat(part) for part in zip(*batches(), strict=True)))
    loader, model = torch.utils.data.DataLoader(tensors, batch_size=5, shuffle=True), net(dropout=0.0)

    def losses(seed: int, around: int) -> tuple[float, ...]:
        torch.manual_seed(around)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return sweep(model, optimizer, loader, lr_start=1e-4, lr_end=1e-2, steps=20, seed=seed).losses

    assert losses(0, around=1) == losses(0, around=2) != losses(1, around=1)


def test_a_precision_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onecycle.hardware.abilities", lambda: {"avx512_bf16"})
    model = net(dropout=0.0)
    assert swept(model, precision="auto") == swept(model, precision="bf16") != swept(model, precision="fp32")
    with pytest.raises(UserError, match="precision 'bf16-mixed' is unknown; did you mean 'bf16'"):
        swept(model, precision="bf16-mixed")


def test_batches_that_are_mappings_are_refused() -> None:
    model = net()
    named = [{"images": inputs, "labels": labels} for inputs, labels in batches()]
    with pytest.raises(UserError, match="a batch is a dict; a tuple or list of images, labels is needed"):
        sweep(model, torch.optim.SGD(model.parameters(), lr=0.1), named, lr_start=1e-4, lr_end=1.0)  # type: ignore[arg-type]


def test_a_sweep_stops_where_the_loss_diverges() -> None:
    one = swept(net(), lr_end=1e4, steps=100)
    assert one.end in ("diverged", "not finite")
    assert len(one.lrs) == len(one.losses) < 100
    assert np.isfinite(one.losses).all()


def test_a_sweep_stops_where_the_loss_is_not_finite() -> None:
    def breaking(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        breaking.calls += 1  # type: ignore[attr-defined]
        return F.cross_entropy(logits, labels) * (float("nan") if breaking.calls == 15 else 1.0)  # type: ignore[attr-defined]

    breaking.calls = 0  # type: ignore[attr-defined]
    one = swept(net(), loss=breaking, lr_end=0.01)
    assert (one.end, len(one.losses)) == ("not finite", 14)


def test_the_steps_are_told() -> None:
    seen: list[tuple[float, float]] = []
    one = swept(net(), on_step=lambda lr, loss: seen.append((lr, loss)))
    assert seen == list(zip(one.lrs, one.losses, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_start": 1.0, "lr_end": 0.1}, "range is inverted, 1 to 0.1"),
        ({"lr_start": 0.1, "lr_end": 0.5}, "range is too short, 0.1 to 0.5; a factor of 10"),
        ({"lr_start": 0.0}, "finite rates above 0"),
        ({"lr_end": float("inf")}, "finite rates above 0"),
        ({"steps": 19}, "a sweep of 19 steps shows nothing; 20 to 1000"),
        ({"steps": 1001}, "a sweep of 1001 steps"),
    ],
)
def test_a_range_that_cannot_be_swept_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        swept(net(), **options)


def test_batches_that_end_are_refused() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for few in (iter(batches()), []):
        with pytest.raises(UserError, match=r"the batches end after \d; 40 are needed"):
            sweep(model, optimizer, few, lr_start=1e-4, lr_end=1.0, steps=40)


def test_an_optimizer_of_another_net_is_refused() -> None:
    optimizer = torch.optim.SGD(net().parameters(), lr=0.1)
    with pytest.raises(UserError, match="the optimizer trains what is not in the net Sequential"):
        sweep(net(), optimizer, batches(), lr_start=1e-4, lr_end=1.0)


# The choice


# Noise


def test_noise_of_small_batches_is_no_divergence() -> None:
    for seed in range(8):
        random_ = torch.Generator().manual_seed(seed)
        noisy = [(torch.randn(16, 4, generator=random_), 3 * torch.randn(16, 1, generator=random_)) for _ in range(100)]
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        one = sweep(model, optimizer, noisy, lr_start=1e-9, lr_end=1e-7, steps=100, loss=F.mse_loss)
        assert (one.end, len(one.losses)) == ("range", 100)


def test_a_sweep_goes_on_where_it_is_told_to() -> None:
    options = {"lr_end": 1e4, "steps": 100}
    whole, stopped = swept(net(), stop=False, **options), swept(net(), **options)
    assert stopped.end == "diverged" and len(whole.losses) > len(stopped.losses)
    assert whole.losses[: len(stopped.losses)] == stopped.losses


# Optimisers


def test_groups_keep_the_ratio_of_their_rates() -> None:
    model = net(dropout=0.0)

    def grouped(one: nn.Module, rates: tuple[float, float]) -> torch.optim.Optimizer:
        first, *others = one.parameters()
        return torch.optim.SGD([{"params": [first], "lr": rates[0]}, {"params": others, "lr": rates[1]}])

    def losses(rates: tuple[float, float]) -> tuple[float, ...]:
        return sweep(model, grouped(model, rates), batches(), lr_start=1e-3, lr_end=1.0, steps=30).losses

    assert losses((0.01, 0.1)) == losses((0.1, 1.0)) != losses((0.1, 0.1))
    warmed_up = grouped(model, (0.01, 0.1))
    torch.optim.lr_scheduler.LambdaLR(warmed_up, lambda step: step / 100)  # from 0
    assert losses((0.01, 0.1)) == sweep(model, warmed_up, batches(), lr_start=1e-3, lr_end=1.0, steps=30).losses
    other, expected = copy.deepcopy(model), []
    optimizer = grouped(other, (0.01, 0.1))
    for step in range(30):
        for group, ratio in zip(optimizer.param_groups, (0.1, 1.0), strict=True):
            group["lr"] = ratio * 1e-3 * 10 ** (3 * step / 29)
        loss = F.cross_entropy(other(batches()[step % 4][0]), batches()[step % 4][1])
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(losses((0.01, 0.1)), expected[: len(losses((0.01, 0.1)))], rtol=1e-4)


def test_an_optimizer_with_attributes_of_its_own_is_swept() -> None:
    class Lookahead(torch.optim.SGD):
        def __init__(self, model: nn.Module) -> None:
            super().__init__(model.parameters(), lr=0.1)
            self.slow = [parameter.detach().clone() for parameter in model.parameters()]
            self.wrapped = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(self, closure: None = None) -> None:  # type: ignore[override]
            super().step()
            own = self.param_groups[0]["params"]
            assert self.wrapped.param_groups[0]["params"][0] is own[0]  # copied along, not the original's
            for slow, fast in zip(self.slow, own, strict=True):
                slow.lerp_(fast.detach(), 0.5)

    model = net()
    optimizer = Lookahead(model)
    torch.optim.lr_scheduler.ConstantLR(optimizer)  # wraps the step of the original
    slow = [one.clone() for one in optimizer.slow]
    weights = [one.clone() for one in model.parameters()]
    one = sweep(model, optimizer, batches(), lr_start=1e-4, lr_end=1.0, steps=40)
    assert min(one.losses) < one.losses[0] - 0.1
    assert all(torch.equal(*pair) for pair in zip(slow, optimizer.slow, strict=True))
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))


def test_optimizers_that_cannot_be_swept_are_refused() -> None:
    model = net()
    with pytest.raises(UserError, match="the optimizer LBFGS asks for the loss again within a step"):
        sweep(model, torch.optim.LBFGS(model.parameters()), batches(), lr_start=1e-4, lr_end=1.0)
    without = torch.optim.SGD(model.parameters(), lr=0.1)
    del without.param_groups[0]["lr"]
    with pytest.raises(UserError, match="the optimizer SGD has groups without lr"):
        sweep(model, without, batches(), lr_start=1e-4, lr_end=1.0)


def test_labels_without_meaning_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4, bias=False))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the loss never falls"):
        choose([swept(model, lr_start=1e-9, lr_end=1e-7)])


def test_the_names_are_public() -> None:
    assert set(lr_range.RULES) == {"steepest", "valley", "minimum", "minimum/10", "slowing"}
    assert set(lr_range.RULES_MIN) == {"onset"}
    assert lr_range.RULE in lr_range.RULES and lr_range.RULE_MIN in lr_range.RULES_MIN
