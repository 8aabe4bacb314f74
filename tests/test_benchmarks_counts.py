"""The arithmetic that the benchmarks of speed count, against counts by hand and PyTorch's own."""

import pytest
import small
import torch
from speed_benchmarks import conv_gflop, script, tiny
from torch.utils.flop_counter import FlopCounterMode

import onecycle

pytest_plugins = ["speed_fixtures"]
pytestmark = pytest.mark.usefixtures("modules_forgotten")


def test_a_step_is_counted_as_by_hand(monkeypatch):
    flops = script("measuring.flops", monkeypatch)
    recipe = onecycle.recipe("custom_resnet", **{"model.name": "whitened_convnet", "optimizer.name": "muon"})
    recipe = recipe.evolve(model={"widths": (4, 8, 8)})
    counts = {side: flops.step_flop(recipe, small.images(20), side) for side in (32, 16)}

    for side, count in counts.items():
        stages = [(24, 4, side - 1), (4, 8, (side - 1) // 2), (8, 8, (side - 1) // 4)]
        expected = conv_gflop(3, 24, 2, side - 1, passes=1)  # frozen, and its input needs no gradient
        # The gradient of the first trained conv's input is not needed either: all before it is frozen.
        expected += conv_gflop(24, 4, 3, side - 1, passes=2)
        expected += sum(conv_gflop(i, o, 3, s, passes=3) for i, o, s in stages[1:])
        expected += sum(conv_gflop(o, o, 3, s // 2, passes=3) for _, o, s in stages)
        expected += 3 * 2 * 8 * 4 / 1e9  # the linear layer, of four classes
        assert count.an_image == pytest.approx(expected, rel=1e-9)
    assert counts[32].optimizer == counts[16].optimizer > 0


def test_muon_is_counted_as_pytorch_counts_it(monkeypatch):
    flops = script("measuring.flops", monkeypatch)
    shapes = [(8, 36), (40, 16), (5, 5)]
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    with FlopCounterMode(display=False) as counter:
        torch.optim.Muon(weights, ns_steps=3).step()  # as the peers have it: all products in every step

    assert flops.muon_gflop(shapes, iterations=3) == pytest.approx(counter.get_total_flops() / 1e9)


def test_a_run_is_the_sum_over_its_plan(tmp_path, monkeypatch):
    flops = script("measuring.flops", monkeypatch)
    recipe, images = onecycle.recipe(tiny(tmp_path)), small.images(120)
    of_side = {side: flops.step_flop(recipe, images, side) for side in (16, 32)}

    dropped = sum(100 * one.an_image + 2 * one.optimizer for one in of_side.values()) / 1e6
    whole = sum(120 * one.an_image + 3 * one.optimizer for one in of_side.values()) / 1e6
    assert flops.run_pflop(recipe, images) == pytest.approx(dropped)
    assert flops.run_pflop(recipe.evolve(data={"drop_last": False}), images) == pytest.approx(whole)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_custom_resnet_has_the_flop_of_the_design(precision, monkeypatch):
    """Also in float32, which computes with fewer products."""
    flops = script("measuring.flops", monkeypatch)

    count = flops.step_flop(onecycle.recipe("custom_resnet", precision=precision), small.images(4, classes=4), 32)

    # 2 x (3 x 379.26 - 1.77) million, for ten classes; six fewer of them are 3 x 2 x 512 x 6 less.
    assert count.an_image == pytest.approx(2.27201, abs=1e-4)
    assert count.optimizer == 0
