"""What the tests of the benchmarks of speed share: a tiny recipe, a tiny peer, and how a script is run."""

import csv
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

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


def conv_gflop(inputs: int, outputs: int, size: int, side: int, passes: int) -> float:
    """Two operations a multiply-add, over each pixel of the output."""
    return passes * 2 * inputs * outputs * size**2 * side**2 / 1e9
