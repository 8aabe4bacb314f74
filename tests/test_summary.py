"""The summary of a net against torchinfo, and what it leaves behind."""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchinfo
from torch import Tensor, nn

from onecycle.errors import UserError
from onecycle.models import compact, custom_resnet
from onecycle.models.summary import LayerRow, Summary, render, summarize

# --- the summary against torchinfo -------------------------------------------------------------------------------


class Twice(nn.Module):
    """Calls one layer two times, and one that has no parameters three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()
        self.block = nn.Sequential(nn.BatchNorm2d(3), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        x = self.block(self.act(self.conv(x)))
        out: Tensor = self.act(self.block(x))
        return out


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.fc(x), x


class TakesFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        first, _ = self.pair(x)
        out: Tensor = self.gru(first)[0]
        return out


class Listed(nn.Module):
    """A ModuleList, which is never called, one of whose layers is not either."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 5), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(9, 9)])
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.layers[1](self.layers[0](x)))
        return out


def frozen_first() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    net[0].requires_grad_(False)
    net[1].bias.requires_grad_(False)
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "custom resnet": (lambda: custom_resnet(10), (3, 32, 32)),
    "custom resnet, 64 pixels": (lambda: custom_resnet(3), (3, 64, 64)),
    "custom resnet, other options": (
        lambda: custom_resnet(
            10, norm="group", order="conv-norm-relu-pool", block_dropout=0.1, linear_bias=False, log_softmax=True
        ),
        (3, 32, 32),
    ),
    "compact": (lambda: compact(10), (3, 32, 32)),
    "grouped conv": (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 6, 1, bias=False)), (4, 9, 7)),
    "depthwise conv": (lambda: nn.Sequential(nn.Conv2d(6, 6, 5, padding=2, groups=6), nn.GELU()), (6, 8, 8)),
    "dilated conv": (lambda: nn.Conv2d(3, 5, 3, dilation=2), (3, 11, 12)),
    "strided conv": (lambda: nn.Sequential(nn.Conv2d(3, 5, (3, 2), stride=(2, 3)), nn.AvgPool2d(2)), (3, 16, 15)),
    "transposed conv": (lambda: nn.ConvTranspose2d(3, 5, 3, stride=2), (3, 4, 4)),
    "conv 1-d": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)), (2, 10)),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2, bias=False)), (6,)),
    "linear, 3-d": (lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4)), (7, 6)),
    "group norm": (lambda: nn.Sequential(nn.GroupNorm(2, 6), nn.GroupNorm(1, 6, affine=False)), (6, 9, 9)),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Dropout(), nn.Linear(12, 3)), (3, 2, 2)),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Sequential(nn.PReLU()), nn.Identity()), nn.Sequential()), (4, 4)),
    "no parameters": (lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (3, 8, 8)),
    "a leaf": (nn.ReLU, (5,)),
    "recursive": (Twice, (3, 6, 6)),
    "tuples": (TakesFirst, (5, 6)),
    "frozen": (frozen_first, (6,)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
}


def of_torchinfo(net: nn.Module, input_shape: tuple[int, ...]) -> Any:
    columns = ("output_size", "num_params", "mult_adds")
    # As deep as it goes: the layers of the custom ResNet are deeper than torchinfo's default of 3.
    return torchinfo.summary(net, input_size=input_shape, col_names=columns, depth=100, device="cpu", verbose=0)


def number(text: str) -> int | None:
    return None if text in ("--", "(recursive)") else int(text.strip("()").replace(",", ""))


def rows_of_torchinfo(summary: Any) -> list[LayerRow]:
    return [
        LayerRow(
            depth=info.depth,
            name=info.var_name,
            kind=info.class_name,
            index=info.depth_index,
            output_shape=tuple(info.output_size) or None,
            parameters=number(info.num_params_to_str(False)),
            multiply_adds=number(info.macs_to_str(False)),
            recursive=info.num_params_to_str(False) == "(recursive)",
            frozen=re.fullmatch(r"\([0-9,]+\)", info.num_params_to_str(False)) is not None,
        )
        for info in summary.summary_list
    ]


def lines(text: str) -> list[str]:
    """The text without what is ours: the widths of columns and lines; and with "M" where its enum is printed so."""
    text = text.replace("Units.MEGABYTES", "M").replace("Units.GIGABYTES", "G").replace("Units.TERABYTES", "T")
    return [" ".join(re.sub("=+", "=", line).split()) for line in text.splitlines()]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_rows_and_totals_are_those_of_torchinfo(name: str, batch: int) -> None:
    build, shape = NETS[name]
    net = build()
    theirs = of_torchinfo(net, (batch, *shape))
    ours = summarize(net, (batch, *shape))
    assert list(ours.rows) == rows_of_torchinfo(theirs)
    object_bytes = sys.getsizeof(torch.UntypedStorage(0))  # which torchinfo takes for a part of the input
    assert ours == Summary(
        rows=ours.rows,
        input_shape=(batch, *shape),
        parameters=theirs.total_params,
        trainable_parameters=theirs.trainable_params,
        multiply_adds=theirs.total_mult_adds,
        input_bytes=theirs.total_input - object_bytes,
        forward_backward_bytes=theirs.total_output_bytes,
        # torchinfo leaves out what belongs to no leaf: here, the attention's two input projections
        parameter_bytes=theirs.total_param_bytes + (4 * (3 * 8 * 8 + 3 * 8 + 8 * 8 + 8) if name == "attention" else 0),
    )
    assert lines(render(ours)) == lines(str(theirs))


def test_the_numbers_of_the_custom_resnet() -> None:
    summary = summarize(custom_resnet(10), (1, 3, 32, 32))
    assert summary.parameters == summary.trainable_parameters == 6_573_130
    assert summary.multiply_adds == 379_266_442
    assert summary.input_bytes == 4 * 3 * 32 * 32
    assert summary.forward_backward_bytes == 4_653_136
    assert summary.parameter_bytes == 4 * 6_573_130
    assert sum(row.parameters or 0 for row in summary.rows) == summary.parameters


def test_layers_in_a_list_stand_below_it() -> None:
    net = Listed()
    summary = summarize(net, (2, 5))
    theirs = of_torchinfo(net, (2, 5))
    assert list(summary.rows) == rows_of_torchinfo(theirs)
    assert (summary.parameters, summary.multiply_adds) == (theirs.total_params, theirs.total_mult_adds)
    container = summary.rows[1]
    assert (container.kind, container.output_shape, container.parameters) == ("ModuleList", None, 9 * 9 + 9)
    # Departs from torchinfo: the layer that is not called has bytes all the same.
    assert summary.parameter_bytes == theirs.total_param_bytes + 4 * 90 == 4 * summary.parameters


class TakingTurns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = norm(linear(x))
        return x


def test_lists_that_take_turns_are_recursive_from_the_second_time_on() -> None:
    summary = summarize(TakingTurns(), (1, 3))
    theirs = of_torchinfo(TakingTurns(), (1, 3))
    assert [(row.name, row.index, row.recursive, row.parameters) for row in summary.rows[1:]] == [
        ("linears", 1, False, None),
        ("0", 1, False, 12),
        ("norms", 2, False, None),
        ("0", 2, False, 6),
        ("linears", 3, True, None),
        ("1", 3, False, 12),
        ("norms", 4, True, None),
        ("1", 4, False, 6),
    ]
    assert [row.name for row in summary.rows] == [info.var_name for info in theirs.summary_list]
    assert (summary.parameters, summary.multiply_adds) == (theirs.total_params, theirs.total_mult_adds)
    assert summary.forward_backward_bytes == theirs.total_output_bytes


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x)) * self.scale
        return out


def test_a_shared_weight_and_a_containers_own_are_counted_once_in_the_totals() -> None:
    summary = summarize(Tied(), (1, 4))
    assert [row.parameters for row in summary.rows] == [4, 20, 20]
    assert summary.parameters == 16 + 4 + 4 + 4
    assert summary.parameter_bytes == 4 * summary.parameters


def test_recursive_layers_are_marked_in_the_text() -> None:
    text = render(summarize(Twice(), (1, 3, 6, 6)))
    assert len(re.findall(r"Conv2d: 1-\d +\[1, 3, 6, 6\] +84 +3,024$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"Conv2d: 1-\d +\[1, 3, 6, 6\] +\(recursive\) +3,024$", text, re.MULTILINE)) == 1
    assert "Total params: 90\n" in text


def test_render_aligns_its_columns() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(288, 10))
    net[2].bias.requires_grad_(False)
    expected = """
=========================================================
Layer (type:depth-idx)  Output Shape   Param #  Mult-Adds
=========================================================
Sequential              [20, 10]            --         --
├─Conv2d: 1-1           [20, 8, 6, 6]      216    155,520
├─Sequential: 1-2       [20, 288]           --         --
│    └─ReLU: 2-1        [20, 8, 6, 6]       --         --
│    └─Flatten: 2-2     [20, 288]           --         --
├─Linear: 1-3           [20, 10]         2,890     57,800
=========================================================
Total params: 3,106
Trainable params: 3,096
Non-trainable params: 10
Total mult-adds (M): 0.21
=========================================================
Input size (MB): 0.02
Forward/backward pass size (MB): 0.05
Params size (MB): 0.01
Estimated Total Size (MB): 0.08
=========================================================
"""
    assert render(summarize(net, (20, 3, 8, 8))) == expected.strip()


@pytest.mark.parametrize(
    ("multiply_adds", "text"),
    [
        (0, "(M): 0"),
        (1_234, "(M): 0.00"),
        (999_990_000, "(M): 999.99"),
        (3_000_000, "(M): 3"),
        (1_820_000_000, "(G): 1.82"),
        (2_000_000_000_000, "(T): 2"),
        (1_234_560_000_000_000, "(T): 1,234.56"),
    ],
)
def test_the_unit_of_the_multiply_adds(multiply_adds: int, text: str) -> None:
    summary = dataclasses.replace(summarize(nn.ReLU(), (1, 1)), multiply_adds=multiply_adds)
    assert f"\nTotal mult-adds {text}\n" in render(summary)
    theirs = of_torchinfo(nn.ReLU(), (1, 1))
    theirs.total_mult_adds = multiply_adds
    assert lines(render(summary)) == lines(str(theirs))


# --- what a summary leaves behind --------------------------------------------------------------------------------


class Counting(nn.Module):
    """Writes to its buffers in eval mode too, one in place and one by a new tensor; breaks where asked."""

    calls: Tensor
    mean: Tensor

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.fails = fails
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.mean = self.mean + x.mean() + 1
        out: Tensor = self.norm(x)
        if self.fails:
            raise ArithmeticError("broken on purpose")
        return out


@pytest.mark.parametrize("fails", [False, True])
def test_the_net_is_left_as_it_was(fails: bool) -> None:
    net = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()), nn.BatchNorm2d(3), Counting(fails))
    net.train()
    net[1].eval()  # as in fine-tuning: a net of mixed modes
    seen: list[str] = []
    net[0].register_forward_hook(lambda module, args, output: seen.append("own hook"))
    flags = [module.training for module in net.modules()]
    buffers = dict(net.named_buffers())
    state = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()

    if fails:
        with pytest.raises(ArithmeticError, match="broken on purpose"):
            summarize(net, (2, 3, 4, 4))
    else:
        summarize(net, (2, 3, 4, 4))

    assert [module.training for module in net.modules()] == flags
    assert all(tensor is buffers[name] for name, tensor in net.named_buffers())
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert sum(len(module._forward_pre_hooks) for module in net.modules()) == 0
    assert sum(len(module._forward_hooks) for module in net.modules()) == 1
    assert seen == ["own hook"]


def test_the_pass_runs_in_eval_mode_without_gradients() -> None:
    class Probe(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training and not torch.is_grad_enabled() and not x.any()
            return x

    assert summarize(Probe(), (2, 3)).rows[0].output_shape == (2, 3)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("cpu", torch.double), ("meta", torch.float)])
def test_runs_where_the_parameters_are_and_in_their_dtype(device: str, dtype: torch.dtype) -> None:
    net = custom_resnet(10).to(device, dtype)
    summary, usual = summarize(net, (1, 3, 32, 32)), summarize(custom_resnet(10), (1, 3, 32, 32))
    assert summary.rows == usual.rows
    assert summary.parameter_bytes == dtype.itemsize * 6_573_130
    assert summary.input_bytes == dtype.itemsize * 3 * 32 * 32
    assert summary.forward_backward_bytes * 4 == usual.forward_backward_bytes * dtype.itemsize


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_runs_on_the_gpu() -> None:
    on_cpu = summarize(custom_resnet(10), (2, 3, 32, 32))
    assert summarize(custom_resnet(10).cuda(), (2, 3, 32, 32)) == on_cpu


class Returns(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(x)


@pytest.mark.parametrize(
    ("wrap", "shape"),
    [
        (lambda x: (x[:1], x), (1, 5)),
        (lambda x: [None, (x,)], (2, 5)),
        (lambda x: {"logits": x, "aux": x[:1]}, (2, 5)),
        (lambda x: x.sum(), ()),
        (lambda x: None, None),
        (lambda x: (), None),
    ],
)
def test_the_shape_is_that_of_the_first_tensor(wrap: Callable[[Tensor], object], shape: tuple[int, ...] | None) -> None:
    summary = summarize(Returns(wrap), (2, 5))
    assert summary.rows[0].output_shape == shape
    assert ("--" if shape is None else str(list(shape))) in render(summary).splitlines()[3]


@pytest.mark.parametrize("shape", [(), (0, 3), (1, -2)])
def test_an_impossible_input_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=re.escape(f"input shape {shape}: it needs dimensions, each of 1 or more")):
        summarize(nn.ReLU(), shape)
