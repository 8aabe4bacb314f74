"""The benchmarks of speed: peers, turns, profile, growth. What they measure here is tiny, and means nothing."""

import contextlib
import csv
import importlib
import json
import math
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import small
import torch
from torch.utils.flop_counter import FlopCounterMode

import onecycle
from onecycle.recipes import Component

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")
AIRBENCH = os.environ.get("ONECYCLE_AIRBENCH")  # a checkout of github.com/KellerJordan/cifar10-airbench

TINY = """
name: {name}
data: {{batch_size: 50, drop_last: true}}
augment: {{crop_padding: 2, cutout: 0, resize: [[0, 16], [1, 32]]}}
model: {{name: whitened_convnet, widths: [4, 8, 8]}}
optimizer: {{name: muon}}
schedule: {{name: constant, epochs: 2, lr: 0.02}}
tta: flip
evaluate_every: 0
"""

# A training with the shape of airbench94_muon's, and each text that is changed in that.
PEER = """
import os
import sys
with open(sys.argv[0]) as f:
    code = f.read()
from math import ceil
import torch
import torch.nn.functional as F
import torchvision.transforms as T
torch.backends.cudnn.benchmark = True

@torch.compile
def step_size(seed):
    assert "step_size" in code
    return 0.1

class CifarNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.whiten = torch.nn.Conv2d(3, 4, 2)
        self.whiten.weight.requires_grad = False
        self.conv = torch.nn.Conv2d(4, 8, 3)
        self.head = torch.nn.Linear(8, 10)
        for mod in self.modules():
            mod.half()

    def forward(self, x):
        x = self.head(self.conv(F.gelu(self.whiten(x))).amax((2, 3)))
        forwarded.append((x.dtype, x.is_contiguous()))
        return x

forwarded = []

class Images:
    def __init__(self, part):
        data = torch.load(os.path.join("cifar10", part), map_location=torch.device("cuda"))
        self.images, self.labels = data["images"], data["labels"]
        self.images = (self.images.half() / 255).permute(0, 3, 1, 2)
        self.images = T.Normalize(torch.tensor((0.5, 0.5, 0.5)), torch.tensor((0.25, 0.25, 0.25)))(self.images)

    def __len__(self):
        return len(self.images) // 2000

def print_training_details(variables, is_final_entry):
    raise AssertionError("not to be printed")

def main(run, model):
    batch_size = 2000
    bias_lr = step_size(run)
    train_loader, test_loader = Images("train.pt"), Images("test.pt")
    starter = torch.cuda.Event(enable_timing=True)
    ender = torch.cuda.Event(enable_timing=True)
    time_seconds = 0.0
    for layer in (model.whiten, model.conv, model.head):
        layer.reset_parameters()
    order = torch.randperm(len(train_loader.images))
    for epoch in range(ceil(8 * len(train_loader)) or 2):
        starter.record()
        batch = order[:batch_size]
        F.cross_entropy(model(train_loader.images[batch]), train_loader.labels[batch]).backward()
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p -= bias_lr * p.grad
                    p.grad = None
        ender.record()
        torch.cuda.synchronize()
        time_seconds += 1e-3 * starter.elapsed_time(ender)
        val_acc = (model(test_loader.images).argmax(1) == test_loader.labels).float().mean().item()
        print_training_details(locals(), is_final_entry=False)
    tta_val_acc = val_acc / 2
    time_seconds += 0.25
    print_training_details(locals(), is_final_entry=True)
    return tta_val_acc
"""


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the benchmarks."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)


@pytest.fixture(autouse=True)
def _modules_forgotten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The scripts and peers that a test imports are not there for the next."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {
            "measuring",
            "fast",
            "gpu",
            "airbench",
            "convolutions",
            "scaling",
            "step_profile",
            "step_by_step",
            "airbench94_muon",
        }:
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a peer."""
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "airbench94_muon.py").write_text(PEER)
    return tmp_path / "peer"


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices of a few rows, wherever their rate is measured."""
    rates = script("measuring.rates", monkeypatch)
    measured = rates.matrix_gflops
    monkeypatch.setattr(rates, "matrix_gflops", lambda device, precision, **_: measured(device, precision, side=64))


@pytest.fixture
def no_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images in the place of CIFAR-10's."""
    images = small.dataset()
    monkeypatch.setattr("onecycle.data.cifar.cifar10", lambda **options: images)
    monkeypatch.setattr(onecycle.data, "cifar10", lambda: images)


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    """A script's main function."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    script(name, monkeypatch).main()


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tiny(folder: Path, name: str = "fast_tiny") -> Path:
    """A recipe's file."""
    path = folder / f"{name}.yaml"
    path.write_text(TINY.format(name=name))
    return path


# --- counts -----------------------------------------------------------------------------------------------------


def conv_gflop(inputs: int, outputs: int, size: int, side: int, passes: int) -> float:
    """Two operations a multiply-add, over each pixel of the output."""
    return passes * 2 * inputs * outputs * size**2 * side**2 / 1e9


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


# --- the peer ----------------------------------------------------------------------------------------------------


def peer(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    limits = {"epochs": 1, "batch": 40, **options}
    return script("measuring.airbench", monkeypatch).Peer("airbench94_muon", folder, small.dataset(), CPU, **limits)


def test_a_peer_is_ported_to_the_processor(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", own := ModuleType("torchvision"))
    theirs = peer(folder, monkeypatch)
    module = sys.modules["airbench94_muon"]

    first, again, other = theirs.train(0), theirs.train(0), theirs.train(1)

    assert first.accuracy == again.accuracy
    assert other.seed == 1
    assert 0 <= first.accuracy <= 1
    assert first.accuracy_tta == first.accuracy / 2
    assert first.train_seconds > 0
    assert first.tta_seconds == pytest.approx(0.25)
    assert first.seconds == pytest.approx(first.train_seconds + 0.25)
    [net] = theirs._nets
    assert {one.dtype for one in net.parameters()} == {torch.float32}
    products = torch.float32 if theirs.precision == "fp32" else torch.bfloat16
    assert {dtype for dtype, _ in module.forwarded} == {products}
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert sys.modules["torchvision"] is own
    assert "torchvision.transforms" not in sys.modules
    assert not torch.backends.cudnn.benchmark
    assert not Path("cifar10").exists()


def test_a_peer_sees_the_images_that_it_is_given(folder, monkeypatch):
    theirs = peer(folder, monkeypatch)
    seen = []
    read = sys.modules["airbench94_muon"].Images
    monkeypatch.setattr(sys.modules["airbench94_muon"], "Images", lambda part: seen.append(read(part)) or seen[-1])

    theirs.train(0)

    for images, expected in zip(seen, small.dataset(), strict=True):
        pixels = (expected.images_nhwc.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(images.images.numpy(), pixels, atol=1e-6)
        assert images.labels.tolist() == expected.labels.tolist()


def test_a_peers_flop_are_counted_on_its_net(folder, monkeypatch):
    theirs = peer(folder, monkeypatch, epochs=3)  # of five steps each, of 40 images

    step = 40 * (conv_gflop(3, 4, 2, 31, passes=1) + conv_gflop(4, 8, 3, 29, passes=2) + 3 * 2 * 8 * 10 / 1e9)
    newton_schulz = 3 * (2 * 2 * 8**2 * 36 + 2 * 8**3) / 1e9  # of one filter, 8 x 36
    assert theirs.steps == 15
    # The bias of the frozen conv trains, so that what comes after it needs its input's gradient.
    step += 40 * conv_gflop(4, 8, 3, 29, passes=1)
    assert theirs.pflop() == pytest.approx(15 * (step + newton_schulz) / 1e6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("mod.half()", "mod.bfloat16()"), "'mod.half()' is there 0 times, not 1"),
        (("        ender.record()", "        torch.cuda.synchronize()"), "'torch.cuda.synchronize()' is there 2 times"),
        (("ceil(8 *", "ceil(9 *"), "'ceil(8 * len(train_loader))' is there 0 times"),
    ],
)
def test_a_peer_of_another_version_is_refused(folder, monkeypatch, change, says):
    path = folder / "airbench94_muon.py"
    path.write_text(PEER.replace(*change))

    with pytest.raises(onecycle.UserError, match="of another version") as refused:
        peer(folder, monkeypatch)

    assert says in str(refused.value)
    assert "f1c599c" in str(refused.value)
    assert str(path) in str(refused.value)


def test_what_a_peer_cannot_do_is_said(folder, tmp_path, monkeypatch):
    airbench = script("measuring.airbench", monkeypatch)
    (folder / "cifar10_speedrun.py").write_text("ceil(7.59 * len(train_loader)) training_batch_size = 1536")

    with pytest.raises(onecycle.UserError, match="runs on CUDA alone, and this is cpu"):
        airbench.Peer("hiverge", folder, small.dataset(), CPU, batch=10)
    with pytest.raises(onecycle.UserError, match="not readable"):
        airbench.Peer("airbench94_muon", tmp_path, small.dataset(), CPU, batch=10)
    with pytest.raises(onecycle.UserError, match="a batch of 2000 is larger than the training set of 200"):
        airbench.Peer("airbench94_muon", folder, small.dataset(), CPU)


def test_the_peers_script_prints_and_keeps_each_seed(folder, tmp_path, monkeypatch, no_cifar, capsys):
    few = ("--seeds", "0,1", "--epochs", "1", "--batch", "40", "--device", "cpu", "--out", tmp_path / "out")
    run("airbench", monkeypatch, folder, *few)

    [path] = (tmp_path / "out").iterdir()
    assert [row["seed"] for row in table(path)] == ["0", "1"]
    assert "seed 1:" in capsys.readouterr().out


@pytest.mark.skipif(AIRBENCH is None, reason="ONECYCLE_AIRBENCH names no checkout of cifar10-airbench")
def test_airbench_itself_is_ported(monkeypatch):
    assert AIRBENCH is not None
    airbench = script("measuring.airbench", monkeypatch)

    result = airbench.Peer("airbench94_muon", Path(AIRBENCH), small.dataset(), CPU, epochs=1, batch=100).train(0)

    assert 0 <= result.accuracy <= 1
    assert result.train_seconds > 0 and result.tta_seconds > 0
    images = SimpleNamespace(train=range(50_000))
    whole = airbench.Peer("airbench94_muon", Path(AIRBENCH), images, CPU)
    assert (whole.steps, whole.pflop()) == (200, pytest.approx(0.29, abs=0.01))  # as its authors give it


# --- taking turns ------------------------------------------------------------------------------------------------


class Sleeper:
    """A side that takes as long as it says."""

    precision = "fp32"

    def __init__(self, name: str, seconds: float, settings: int = 1) -> None:
        self.name, self._seconds, self._settings = name, seconds, settings
        self.seeds: list[int] = []

    def description(self) -> dict[str, Any]:
        return {"settings": self._settings}

    def pflop(self) -> float:
        return 0.5

    def warm_up(self) -> None:
        order.append(f"{self.name} warm")

    def train(self, seed: int, folder: Path, deadline: float | None) -> dict[str, Any]:
        order.append(f"{self.name} {seed}")
        seconds = self._seconds * (1 + seed)
        accuracies = {"accuracy": 0.9 + seed / 100, "accuracy_tta": None}
        return {**accuracies, "train_seconds": seconds, "tta_seconds": 0.0, "seconds": seconds, "resumed": 0}


order: list[str] = []


def take_turns(turns: ModuleType, folder: Path, sides: list[Any], seeds: list[int], **options: Any) -> bool:
    order.clear()
    done: bool = turns.take_turns(sides, seeds, folder, CPU, quick=True, say=lambda line: None, **options)
    return done


def test_sides_take_turns_and_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    sides = [Sleeper("ours", 2.0), Sleeper("airbench94_muon", 4.0)]

    assert take_turns(turns, tmp_path, sides, [0, 1])
    assert order == ["ours warm", "ours 0", "airbench94_muon warm", "airbench94_muon 0", "airbench94_muon 1", "ours 1"]
    assert take_turns(turns, tmp_path, sides, [0, 1, 2])
    assert order == ["ours warm", "ours 2", "airbench94_muon warm", "airbench94_muon 2"]


def test_a_record_of_other_settings_is_refused(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    take_turns(turns, tmp_path, [Sleeper("ours", 1.0)], [0])

    with pytest.raises(onecycle.UserError, match=r"ours_s0\.json: of other settings \(settings differ\)"):
        take_turns(turns, tmp_path, [Sleeper("ours", 1.0, settings=2)], [0])
    monkeypatch.setattr(turns, "device_name", lambda device: "another processor")
    with pytest.raises(onecycle.UserError, match=r"ours_s0\.json: of other settings \(hardware differ\)"):
        take_turns(turns, tmp_path, [Sleeper("ours", 1.0)], [0])


def test_nothing_is_begun_that_would_be_late(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    slow = Sleeper("slow", 1.0)
    monkeypatch.setattr(slow, "warm_up", lambda: time.sleep(0.3))

    assert not take_turns(turns, tmp_path, [slow], [0, 1, 2], deadline=time.perf_counter() + 0.4)
    assert order == ["slow 0"]
    assert not take_turns(turns, tmp_path, [slow], [1], deadline=time.perf_counter() - 1)
    assert order == []


def test_rows_and_summaries_are_what_was_measured(tmp_path, monkeypatch):
    turns = script("measuring.turns", monkeypatch)
    monkeypatch.setattr(turns, "matrix_rate", lambda device, precision, quick: 1000.0)
    take_turns(turns, tmp_path, [Sleeper("ours", 1.0), Sleeper("airbench94_muon", 4.0)], [0, 1, 2])

    rows = turns.rows(tmp_path)
    peers, ours = turns.summaries(rows)

    assert [(row["side"], row["seed"]) for row in rows[2:4]] == [("airbench94_muon", 2), ("ours", 0)]
    assert rows[-1]["gflops"] == pytest.approx(0.5e6 / 3, rel=1e-5)
    assert rows[-1]["share_of_matrix"] == pytest.approx(0.5e6 / 3 / 1000, rel=1e-5)
    assert (ours["n"], ours["seeds"]) == (3, "0 1 2")
    assert (ours["accuracy"], ours["accuracy_sd"]) == pytest.approx((0.91, 0.01))
    half = scipy.stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert ours["accuracy_high"] == pytest.approx(0.91 + half, rel=1e-5)
    ratio = [ours[f"seconds_to_airbench94_muon{part}"] for part in ("", "_low", "_high")]
    assert ratio == pytest.approx([0.25, 0.25, 0.25])
    assert peers["seconds_to_airbench94_muon"] is None
    assert ours["accuracy_tta"] is None


# --- the scripts -------------------------------------------------------------------------------------------------


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
    names = ["float32, channels first", "channels last", "bf16", "one update", "memory kept", "compiled"]
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
    names = ["float32, channels first", "channels last", "Winograd's convolutions", "one update", "memory kept"]
    assert list(found) == [*names, "compiled"]
    for losses in found.values():
        assert losses == pytest.approx(found["memory kept"], rel=1e-3)


def test_convolutions_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(script("convolutions", monkeypatch), "LAYERS", {"a net": [(64, 128, 8), (3, 4, 8)]})
    run("convolutions", monkeypatch, "--images", "20", "--rounds", "2", "--out", tmp_path)

    rows = table(next(tmp_path.glob("convolutions_*.csv")))
    assert [row["used"] for row in rows] == ["True", "False"]
    for row in rows:
        assert float(row["faster_min"]) <= float(row["faster"]) <= float(row["faster_max"])
        assert all(0 < float(row[key]) < 1e-5 for key in ("pytorch_error", "winograd_error"))
    errors = json.loads(next(tmp_path.glob("convolutions_*.json")).read_text())["gradient_errors"]
    assert 0 < errors["pytorch"] < 0.1 * errors["bf16"] and 0 < errors["winograd"] < 0.1 * errors["bf16"] < 0.1


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


def test_the_script_for_a_gpu_runs_on_a_cpu(folder, tmp_path, monkeypatch, capsys, traced):
    out, runs = tmp_path / "out", tmp_path / "runs"
    monkeypatch.setenv("OUT", str(out))
    words = (
        tiny(tmp_path),
        tiny(tmp_path, "slower"),
        "--device",
        "cpu",
        "--quick",
        "--runs",
        runs,
        "--airbench",
        folder,
        "--modes",
        "default",
        "reduce-overhead",
    )

    run("gpu", monkeypatch, *words)

    modes = table(next(out.glob("gpu_*_modes.csv")))
    assert [(row["recipe"], row["compile"], row["side"], row["epochs"]) for row in modes] == [
        ("fast_tiny", "default", "16", "1"),
        ("fast_tiny", "default", "32", "1"),
    ]
    made = onecycle.load(runs / "fast_tiny_s1")
    assert made.recipe.compile == "default" and made.summary["compile_seconds"] > 0
    assert onecycle.load(runs / "slower_s0").recipe.compile == "none"

    rows = table(next(out.glob("gpu_*-1-thread.csv")))
    assert {(row["side"], row["seed"]) for row in rows} == {
        (side, seed) for side in ("fast_tiny", "slower", "airbench94_muon") for seed in "01"
    }
    record = json.loads(next(out.glob("gpu_*.json")).read_text())
    assert set(record["matrix_gflops"]) == {"fp32", "bf16"}
    assert record["quick"]
    said = capsys.readouterr().out
    assert "Not all of it" not in said
    assert "fast_tiny: compile reduce-overhead records CUDA graphs, which cpu has not" in said


def test_the_fastest_mode_is_that_of_the_whole_plan(monkeypatch):
    fastest = script("measuring.modes", monkeypatch).fastest
    times = {"none": {16: 5.0, 32: 20.0}, "default": {16: 1.0, 32: 21.0}, "max-autotune": {16: 0.1}}
    epochs = {16: 1, 32: 3}
    rows = [
        {"compile": mode, "side": side, "epochs": epochs[side], "ms": ms}
        for mode, own in times.items()
        for side, ms in own.items()
    ]
    assert fastest(rows) == "default"  # 64 against 65; the third did not work on both sides
    epochs[16] = 0
    assert fastest([row | {"epochs": epochs[row["side"]]} for row in rows]) == "none"


def test_the_script_for_a_gpu_ends_in_time_and_goes_on(tmp_path, monkeypatch, capsys):
    words = (tiny(tmp_path), "--device", "cpu", "--quick", "--runs", tmp_path / "runs", "--out", tmp_path / "out")
    run("gpu", monkeypatch, *words, "--minutes", "0")
    assert "the time is over. The same command goes on." in capsys.readouterr().out

    run("gpu", monkeypatch, *words)

    assert len(table(next((tmp_path / "out").glob("gpu_*-1-thread.csv")))) == 2


def test_a_training_that_is_late_is_saved(tmp_path, monkeypatch):
    sides = script("measuring.sides", monkeypatch)
    recipe = onecycle.recipe(tiny(tmp_path), **{"schedule.epochs": 3})
    ours = sides.Ours(recipe, CPU, small.dataset())

    with pytest.raises(onecycle.Stopped):
        ours.train(0, tmp_path / "late", time.perf_counter() - 1)
    found = ours.train(0, tmp_path / "late", None)

    assert found["resumed"] == 1
    assert onecycle.load(tmp_path / "late").finished
