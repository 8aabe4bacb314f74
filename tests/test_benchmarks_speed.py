"""The benchmarks of speed: fast trainings, profile, growth. What they measure here is tiny, and means nothing."""

import contextlib
import functools
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
import small
import torch
from speed_benchmarks import CPU, PEER, run, script, table, tiny

import onecycle
from onecycle.layers import matrix_units, native
from onecycle.recipes import Component

pytest_plugins = ["speed_fixtures"]
pytestmark = pytest.mark.usefixtures("modules_forgotten")


def test_fast_trains_ours_beside_the_peer(folder, tmp_path, monkeypatch, no_cifar, small_products, capsys):
    sources = script("measuring.airbench", monkeypatch).SOURCES
    smaller = replace(sources["airbench94_muon"], batch=("batch_size = {}\n    bias_lr", 40))
    monkeypatch.setitem(sources, "airbench94_muon", smaller)
    (folder / "airbench94_muon.py").write_text(PEER.replace("batch_size = 2000", "batch_size = 40"))
    words = (
        tiny(tmp_path),
        "--runs",
        tmp_path / "runs",
        "--seeds",
        "0-1",
        "--device",
        "cpu",
        "--out",
        tmp_path / "out",
    )

    run("fast", monkeypatch, *words, "--airbench", folder)

    rows = {(row["side"], row["seed"]): row for row in table(next((tmp_path / "out").glob("fast_*-1-thread.csv")))}
    assert set(rows) == {(side, seed) for side in ("fast_tiny", "airbench94_muon") for seed in "01"}
    made = onecycle.load(tmp_path / "runs" / "test" / "fast_tiny_s1")
    row = rows["fast_tiny", "1"]
    assert made.recipe.seed == 1
    assert made.recipe.data.name == "cifar10"
    assert float(row["accuracy"]) == pytest.approx(made.summary["test"]["accuracy"], rel=1e-5)
    assert float(row["accuracy_tta"]) == pytest.approx(made.summary["test"]["accuracy_tta"], rel=1e-5)
    parts = made.summary["train_seconds"], made.summary["test"]["tta_seconds"]
    assert float(row["seconds"]) == pytest.approx(sum(parts), rel=1e-5)
    assert float(row["gflops"]) == pytest.approx(1e6 * float(row["pflop"]) / parts[0], rel=1e-4)
    summary = {line["side"]: line for line in table(next((tmp_path / "out").glob("fast_*_summary.csv")))}
    assert float(summary["fast_tiny"]["seconds_to_airbench94_muon"]) > 0
    record = json.loads(next((tmp_path / "out").glob("fast_*.json")).read_text())
    assert record["environment"]["threads"] == torch.get_num_threads()
    assert "Accuracy and time" in capsys.readouterr().out


def test_fast_goes_on_and_leaves_the_test_set_alone(tmp_path, monkeypatch, no_cifar, small_products):
    monkeypatch.setattr(script("measuring.held_out", monkeypatch), "HELD_OUT_IMAGES", 40)
    runs, out = tmp_path / "runs", tmp_path / "out"
    words = (tiny(tmp_path), "--runs", runs, "--device", "cpu", "--out", out, "--held-out")
    run("fast", monkeypatch, *words, "--seeds", "0")
    kept = (runs / "held_out" / "fast_tiny_s0" / "model.safetensors").stat().st_mtime_ns
    for path in ("fast_tiny_s0.json", "fast_tiny_s0/summary.json"):  # as if it was interrupted at its end
        (runs / "held_out" / path).unlink()
    begun = runs / "held_out" / "fast_tiny_s1"  # as if it was interrupted before its first checkpoint
    begun.mkdir()
    (begun / "recipe.yaml").write_text("name: begun")

    run("fast", monkeypatch, *words, "--seeds", "0-1")

    made = onecycle.load(runs / "held_out" / "fast_tiny_s0")
    assert (made.path / "model.safetensors").stat().st_mtime_ns > kept
    rows = table(next(out.glob("fast_held_out_*-1-thread.csv")))
    assert [(row["seed"], row["resumed"]) for row in rows] == [("0", "1"), ("1", "0")]
    held_out, _ = onecycle.data.stratified_split(small.dataset().train.labels, 40, seed=0)
    assert made.predictions()["labels"].tolist() == small.dataset().train.labels[held_out].tolist()


def test_fast_refuses_two_recipes_of_one_name(tmp_path, monkeypatch, no_cifar, capsys):
    with pytest.raises(SystemExit):
        run("fast", monkeypatch, tiny(tmp_path), tiny(tmp_path), "--runs", tmp_path / "runs", "--device", "cpu")

    assert "fast_tiny: there twice" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0,2-3,2", [0, 2, 3])])
def test_seeds_are_read(text, seeds, monkeypatch):
    assert script("measuring.arguments", monkeypatch).seeds(text) == seeds


@pytest.mark.parametrize("text", ["a", "1-", "3-1", ""])
def test_what_are_no_seeds_is_refused(text, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run("fast", monkeypatch, "fast94", "--runs", tmp_path, "--seeds", text)

    assert "such as 0-4" in capsys.readouterr().err


def test_a_profile_adds_up(tmp_path, monkeypatch, no_cifar, small_products, capsys):
    run(
        "step_profile",
        monkeypatch,
        tiny(tmp_path),
        "--steps",
        "2",
        "--batch",
        "8",
        "--device",
        "cpu",
        "--out",
        tmp_path,
    )

    rows = table(next(tmp_path.glob("profile_*-1-thread.csv")))
    flops = script("measuring.flops", monkeypatch)
    recipe = onecycle.recipe(tmp_path / "fast_tiny.yaml")
    for side in (16, 32):
        own = {row["group"]: row for row in rows if row["side"] == str(side)}
        ms = {group: float(row["ms_per_step"]) for group, row in own.items()}
        assert sum(ms.values()) == pytest.approx(float(own["loss"]["step_ms"]), rel=1e-3)
        assert sum(float(row["share"]) for row in own.values()) == pytest.approx(1, rel=1e-3)
        assert min(ms.values()) >= 0
        working = {group for group, value in ms.items() if value > 0}
        of_net = {"convolution", "normalisation", "activation", "pooling", "linear layer"}
        assert working >= {f"{kind}, {way}" for kind in of_net for way in ("forward", "backward")}
        assert working >= {"loss", "optimiser", "augmentation", "between operations"}
        count = flops.step_flop(recipe, small.images(20), side)
        convs = sum(float(own[f"convolution, {way}"]["gflop"]) for way in ("forward", "backward"))
        assert convs == pytest.approx(8 * (count.an_image - 3 * 2 * 8 * 4 / 1e9), rel=1e-3)
        assert float(own["optimiser"]["gflop"]) == pytest.approx(count.optimizer, rel=1e-3)
        forward = own["convolution, forward"]
        rate = 1000 * float(forward["gflop"]) / float(forward["ms_per_step"])
        assert float(forward["gflops"]) == pytest.approx(rate, rel=1e-3)
        assert float(forward["share_of_matrix"]) == pytest.approx(rate / float(forward["matrix_gflops"]), rel=1e-3)
    assert "the whole step" in capsys.readouterr().out


BACKWARD = "onecycle: backward"
LOOPS = ["loops in C++"] if native.library("loops") else []  # without a C++ compiler there are none
UNITS = ["full matrix units"] if matrix_units.is_available() else []
ENGINE = "autograd::engine::evaluate_function: ConvolutionBackward0"


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (("aten::mkldnn_convolution", "aten::conv2d", "onecycle: forward"), "convolution, forward"),
        (("aten::empty", "aten::native_batch_norm", "onecycle: forward"), "normalisation, forward"),
        (("aten::copy_", "aten::to", "aten::conv2d", "onecycle: forward"), "copies, conversions, fills"),
        (("aten::convolution_backward", "ConvolutionBackward0", ENGINE, BACKWARD), "convolution, backward"),
        (("aten::copy_", "aten::reshape", "_WinogradConvolution", "onecycle: forward"), "convolution, forward"),
        (("aten::mm", "_WinogradConvolutionBackward", ENGINE, BACKWARD), "convolution, backward"),
        (("aten::sum", "_ConvolutionBackward", ENGINE, BACKWARD), "convolution, backward"),
        (("_Convolution", "onecycle: forward"), "convolution, forward"),
        (("_Relu", "onecycle: forward"), "activation, forward"),
        (("aten::empty", "_MaxPool", "onecycle: forward"), "pooling, forward"),
        (("aten::mul", "_BatchNormBackward", BACKWARD), "normalisation, backward"),
        (("cudnn_convolution", "ConvolutionBackward0", ENGINE), "convolution, backward"),  # on a thread of its own
        (("aten::threshold_backward", "ReluBackward0", BACKWARD), "activation, backward"),
        (("aten::_log_softmax_backward_data", "LogSoftmaxBackward0", BACKWARD), "loss"),
        (("aten::copy_", "aten::to", "onecycle: augmentation"), "augmentation"),
        (("aten::mm", "Optimizer.step#Muon.step", "onecycle: optimiser"), "optimiser"),
        (("aten::add", "onecycle: forward"), "other operations"),
    ],
)
def test_operations_are_grouped_by_what_they_are_for(names, group, monkeypatch):
    assert script("measuring.operations", monkeypatch)._group(list(names)) == group


def test_each_way_of_a_step_has_one_thing_more(tmp_path, monkeypatch, no_cifar, small_products, traced):
    kept: list[int] = []
    steps = script("measuring.steps", monkeypatch)
    monkeypatch.setattr(steps, "reused_memory", lambda device: contextlib.nullcontext(kept.append(1)))
    sides: set[int] = set()
    forward = steps.Steps.forward
    monkeypatch.setattr(
        steps.Steps, "forward", lambda self, batch: (sides.add(batch.images_nchw.shape[-1]), forward(self, batch))[1]
    )
    flops, images = script("measuring.flops", monkeypatch), small.images(20)
    usual = onecycle.recipe(tiny(tmp_path)).evolve(name="usual", optimizer=Component(name="adam"), precision="bf16")
    (tmp_path / "usual.yaml").write_text(usual.to_yaml())
    small_steps = ("--rounds", "2", "--steps", "1", "--batch", "8", "--device", "cpu", "--out", tmp_path)
    run("step_by_step", monkeypatch, tmp_path / "usual.yaml", tiny(tmp_path), *small_steps)

    rows = table(next(tmp_path.glob("step_by_step_*-1-thread.csv")))
    names = ["float32, channels first", "channels last", "bf16", *LOOPS, *UNITS]
    names += ["one update", "memory kept", "compiled"]
    of_muon = [row["way"] for row in rows if row["recipe"] == "fast_tiny"]
    assert [row["way"] for row in rows if row["recipe"] == "usual"] == names
    assert of_muon[0] == names[0] and of_muon[-1] == names[-1] and "one update" not in of_muon
    assert len(kept) == 2 * 2 * 2, "the memory is kept in the last two ways alone, in each round of each recipe"
    assert len(traced) == 2, "compiled once for all rounds"
    assert rows[0]["faster"] == "" and all(float(row["faster"]) > 0 for row in rows[1:] if row["way"] != names[0])
    for row in rows:
        assert float(row["images_per_second"]) == pytest.approx(1000 * 8 / float(row["ms"]), rel=1e-3)
        share = float(row["gflops"]) / float(row["matrix_gflops"])
        assert float(row["share_of_matrix"]) == pytest.approx(share, rel=1e-3)
        count = flops.step_flop(usual if row["recipe"] == "usual" else onecycle.recipe(tiny(tmp_path)), images, 32)
        gflop = 8 * count.an_image + count.optimizer
        assert float(row["gflops"]) == pytest.approx(1000 * gflop / float(row["ms"]), rel=1e-3)
    assert sides == {32}, "the plan begins with 16 pixels, the FLOP are those of 32"


def test_the_ways_of_a_step_compute_the_same(tmp_path, monkeypatch, traced):
    ways = script("measuring.ways", monkeypatch)
    recipe = onecycle.recipe(tiny(tmp_path)).evolve(optimizer=Component(name="sgd"), precision="fp32")
    found = {}
    for way in ways.ways("fp32", CPU, one_update=True):
        made = ways.WaySteps(recipe, small.images(60), CPU, way)
        batch = next(made.batches())
        losses = []
        for _ in range(3):
            losses.append(made.loss(made.forward(batch), batch).item())
            made.step(batch)
        found[way.name] = losses
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        weight = next(p for p in made.state.net.parameters() if p.ndim == 4 and p.shape[1] > 3)
        assert batch.images_nchw.is_contiguous(memory_format=layout) and weight.is_contiguous(memory_format=layout)
        assert [group["fused"] for group in made.state.optimizer.param_groups] == [way.one_update]
    names = ["float32, channels first", "channels last", "Winograd's convolutions", *LOOPS]
    assert list(found) == [*names, "one update", "memory kept", "compiled"]
    for losses in found.values():
        assert losses == pytest.approx(found["memory kept"], rel=1e-3)


NEEDS_UNITS = pytest.mark.skipif(not UNITS, reason="this machine has no matrix units, or no C++ compiler")


@pytest.mark.parametrize(
    ("precision", "used", "error"),
    [("fp32", ["True", "False"], 1e-5), pytest.param("bf16", ["False", "False"], 1e-2, marks=NEEDS_UNITS)],
)
def test_convolutions_are_compared(tmp_path, monkeypatch, precision, used, error):
    module = script("convolutions", monkeypatch)
    monkeypatch.setattr(module, "LAYERS", {"a net": [(128, 256, 8), (3, 4, 8)]})
    monkeypatch.setattr(module, "gradient_errors", functools.partial(module.gradient_errors, images=3))
    options = ("--images", "20", "--rounds", "2", "--precision", precision)
    run("convolutions", monkeypatch, *options, "--out", tmp_path)

    rows = table(next(tmp_path.glob("convolutions_*.csv")))
    assert [row["used"] for row in rows] == used
    for row in rows:
        assert row["precision"] == precision
        assert float(row["faster_min"]) <= float(row["faster"]) <= float(row["faster_max"])
        assert all(0 < float(row[key]) < error for key in ("pytorch_error", "ours_error"))
    errors = json.loads(next(tmp_path.glob("convolutions_*.json")).read_text())["gradient_errors"]
    assert errors.keys() == {"pytorch_fp32", "ours_fp32", "pytorch_bf16", "ours_bf16"}
    for way in ("pytorch", "ours"):
        assert 0 < errors[f"{way}_fp32"] < 0.1 * errors[f"{way}_bf16"] < 0.1


@pytest.mark.skipif(not LOOPS, reason="this machine has no C++ compiler")
def test_loops_are_compared(tmp_path, monkeypatch):
    module = script("loops", monkeypatch)
    monkeypatch.setattr(
        module,
        "SHAPES",
        {"max-pooling": [(16, 32), (2, 3)], "BatchNorm": [(128, 32), (8, 8)], "ReLU": [(16, 32)], "GELU": [(16, 32)]},
    )
    run("loops", monkeypatch, "--images", "20", "--rounds", "2", "--precision", "fp32", "--out", tmp_path)

    rows = table(next(tmp_path.glob("loops_*.csv")))
    assert [(row["layer"], row["used"]) for row in rows] == [
        ("max-pooling", "True"),
        ("max-pooling", "False"),
        ("BatchNorm", "True"),
        ("BatchNorm", "False"),
        ("ReLU", "False"),
        ("GELU", "False"),
    ]
    assert all(0 < float(row["faster_min"]) <= float(row["faster"]) <= float(row["faster_max"]) for row in rows)
    assert json.loads(next(tmp_path.glob("loops_*.json")).read_text())["environment"]["native_loops"] is True


def test_without_a_compiler_there_are_no_loops_to_compare(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(native, "library", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        run("loops", monkeypatch, "--out", tmp_path)
    assert caught.value.code == 2 and "they need a C++ compiler" in capsys.readouterr().err


def test_growth_is_measured_and_drawn(tmp_path, monkeypatch, no_cifar, small_products):
    run("scaling", monkeypatch, tiny(tmp_path), "--quick", "--device", "cpu", "--out", tmp_path)

    rows = table(next(tmp_path.glob("scaling_*.csv")))
    points = [(row["varied"], float(row["value"])) for row in rows]
    assert points[:6] == [("batch", 2), ("batch", 4), ("width", 0.25), ("width", 0.5), ("side", 16), ("side", 32)]
    assert [value for varied, value in points[6:] if varied == "set: planning an epoch"] == [20, 40]
    by_point = dict(zip(points, rows, strict=True))
    small_side, large_side = (float(by_point["side", side]["gflop"]) for side in (16, 32))
    assert small_side < large_side
    for row in rows[:6]:
        assert float(row["gflops"]) == pytest.approx(float(row["gflop"]) / float(row["seconds"]), rel=1e-3)
        assert float(row["images_per_second"]) == pytest.approx(int(row["batch"]) / float(row["seconds"]), rel=1e-3)
    picture = ElementTree.parse(next(tmp_path.glob("scaling_*.svg"))).getroot()
    axes = [one.get("id") for one in picture.iter() if (one.get("id") or "").startswith("axes_")]
    assert len(axes) == 8
