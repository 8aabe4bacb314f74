"""A table of a net's layers: output shapes, parameters, multiply-adds. Conventions and layout are torchinfo's.

The rows and totals are those of torchinfo 1.8, with three departures:

- Totals of parameters and their bytes are over the net's distinct parameters. torchinfo counts a weight that two layers
  share twice, and leaves parameters that belong to no leaf layer, or to one that is not called, out of the bytes.
- The input's bytes are the tensor's; torchinfo adds the few bytes of the Python object around it.
- A container that is not called (nn.ModuleList) and is listed twice, as others' layers run in between, is recursive in
  the second row only, and each row has its number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from math import prod

import torch
from torch import Tensor, nn

from ..errors import UserError


@dataclass(frozen=True)
class LayerRow:
    """One call of a layer, or a container whose layers are called.

    `name` is the attribute that holds the layer, `index` its number among the rows of its depth. `output_shape` is that
    of the first tensor returned, None where there is none. `parameters` are the layer's own, None where it has none, or
    where an earlier row counts them (`recursive`); a container's own are those that no row below it lists.
    `multiply_adds` is None for containers and for layers without parameters. `frozen`: none of the parameters trains.
    """

    depth: int
    name: str
    kind: str
    index: int
    output_shape: tuple[int, ...] | None
    parameters: int | None
    multiply_adds: int | None
    recursive: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class Summary:
    """A net's layers in the order of their calls, and totals for the whole batch of `input_shape`.

    `forward_backward_bytes` are the outputs of all layers with parameters, twice: once for their gradients.
    """

    rows: tuple[LayerRow, ...]
    input_shape: tuple[int, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    input_bytes: int
    forward_backward_bytes: int
    parameter_bytes: int


def summarize(net: nn.Module, input_shape: tuple[int, ...]) -> Summary:
    """Run `net` once on zeros of `input_shape`, batch included, and list its layers.

    The net runs in eval mode on the device and in the dtype of its parameters, and is left as it was: training flags,
    buffers, hooks. Raises UserError where the shape is empty or not positive, and what the net raises on such an input.
    """
    if not input_shape or min(input_shape) < 1:
        raise UserError(f"input shape {tuple(input_shape)}: it needs dimensions, each of 1 or more")
    example = next((t for t in chain(net.parameters(), net.buffers()) if t.is_floating_point()), torch.empty(0))
    inputs = torch.zeros(input_shape, device=example.device, dtype=example.dtype)
    calls = _with_uncalled_containers(_run(net, inputs))

    rows = []
    last_index: dict[int, int] = defaultdict(int)
    for call, own in zip(calls, _own_parameters(calls), strict=True):
        depth = len(call.path) - 1
        last_index[depth] += 1
        rows.append(
            LayerRow(
                depth=depth,
                name=call.path[-1][0],
                kind=type(call.module).__name__,
                index=last_index[depth],
                output_shape=call.output_shape,
                parameters=sum(p.numel() for p in own) or None,
                multiply_adds=call.multiply_adds() or None,
                recursive=call.recursive and any(p.numel() for p in call.module.parameters()),
                frozen=call.is_leaf and bool(own) and not any(p.requires_grad for p in own),
            )
        )
    outputs = [c.output_bytes for c, r in zip(calls, rows, strict=True) if c.is_leaf and (r.parameters or r.recursive)]
    return Summary(
        rows=tuple(rows),
        input_shape=tuple(input_shape),
        parameters=sum(p.numel() for p in net.parameters()),
        trainable_parameters=sum(p.numel() for p in net.parameters() if p.requires_grad),
        multiply_adds=sum(row.multiply_adds or 0 for row in rows),
        input_bytes=inputs.numel() * inputs.element_size(),
        forward_backward_bytes=2 * sum(outputs),
        parameter_bytes=sum(p.numel() * p.element_size() for p in net.parameters()),
    )


def render(summary: Summary) -> str:
    """Return the table and the totals as plain text, without a newline at the end."""
    table = [("Layer (type:depth-idx)", "Output Shape", "Param #", "Mult-Adds"), *map(_cells, summary.rows)]
    layer, shape, parameters, multiply_adds = (max(map(len, column)) for column in zip(*table, strict=True))
    header, *body = (f"{a:<{layer}}  {b:<{shape}}  {c:>{parameters}}  {d:>{multiply_adds}}" for a, b, c, d in table)
    divider = "=" * len(header)
    total_bytes = summary.input_bytes + summary.forward_backward_bytes + summary.parameter_bytes
    lines = [divider, header, divider, *body, divider]
    lines += [
        f"Total params: {summary.parameters:,}",
        f"Trainable params: {summary.trainable_parameters:,}",
        f"Non-trainable params: {summary.parameters - summary.trainable_parameters:,}",
        f"Total mult-adds {_scaled(summary.multiply_adds)}",
        divider,
        f"Input size (MB): {summary.input_bytes / 1e6:.2f}",
        f"Forward/backward pass size (MB): {summary.forward_backward_bytes / 1e6:.2f}",
        f"Params size (MB): {summary.parameter_bytes / 1e6:.2f}",
        f"Estimated Total Size (MB): {total_bytes / 1e6:.2f}",
        divider,
    ]
    return "\n".join(lines)


# From the net down to one of its modules, each with the name of the attribute that holds it.
_Path = tuple[tuple[str, nn.Module], ...]


@dataclass
class _Call:
    path: _Path
    recursive: bool
    output_shape: tuple[int, ...] | None = None
    output_bytes: int = 0

    @property
    def module(self) -> nn.Module:
        return self.path[-1][1]

    @property
    def is_leaf(self) -> bool:
        return next(self.module.children(), None) is None

    def multiply_adds(self) -> int:
        """Count as torchinfo does: by the names of kind and parameters, a linear layer once per entry of the batch."""
        if not self.is_leaf or self.output_shape is None:
            return 0
        shape, total = self.output_shape, 0
        for name, parameter in self.module.named_parameters():
            if name in ("weight", "bias"):
                is_conv = "Conv" in type(self.module).__name__
                total += parameter.numel() * prod(shape[:1] + shape[2:] if is_conv else shape[:1])
            elif "weight" in name or "bias" in name:  # the recurrent layers': weight_ih_l0
                total += parameter.numel() * prod(shape[:2])
        return total


def _paths(path: _Path) -> Iterator[_Path]:
    yield path
    # not named_children(), which leaves out the second name of a module
    for name, child in path[-1][1]._modules.items():
        if child is not None:
            yield from _paths((*path, (name, child)))


def _run(net: nn.Module, inputs: Tensor) -> list[_Call]:
    """Return the calls of all modules in one forward pass, in the order in which they begin."""
    # A module that stands in several places is listed at the last of them, as torchinfo does.
    paths = {path[-1][1]: path for path in _paths(((type(net).__name__, net),))}
    calls: list[_Call] = []
    begun: dict[nn.Module, list[_Call]] = defaultdict(list)

    def begin(module: nn.Module, _: object) -> None:
        calls.append(_Call(paths[module], recursive=module in begun))
        begun[module].append(calls[-1])

    def end(module: nn.Module, _: object, output: object) -> None:
        call = begun[module].pop()
        for tensor in islice(_tensors(output), 1):
            call.output_shape = tuple(tensor.shape)
            call.output_bytes = tensor.numel() * tensor.element_size()

    with torch.no_grad(), ExitStack() as stack:
        for module in paths:
            # flag by flag, as net.train() would also reach the parts that are in eval mode on purpose
            stack.callback(setattr, module, "training", module.training)
            stack.callback(module.register_forward_pre_hook(begin).remove)
            stack.callback(module.register_forward_hook(end).remove)
        net.eval()
        # The pass works on copies of the buffers: some layers write to theirs in eval mode too.
        torch.func.functional_call(net, {name: buffer.clone() for name, buffer in net.named_buffers()}, (inputs,))
    return calls


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping | list | tuple):
        for value in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(value)


def _with_uncalled_containers(calls: list[_Call]) -> list[_Call]:
    """Put the containers that are never called, such as nn.ModuleList, before the calls of their layers."""
    listed = {call.module for call in calls}
    result: list[_Call] = []
    above: _Path = ()  # the path of the row last listed
    for call in calls:
        for depth in range(1, len(call.path)):
            container = call.path[:depth]
            if above[:depth] != container:
                result.append(_Call(container, recursive=container[-1][1] in listed))
                listed.add(container[-1][1])
                above = container
        above = call.path
        result.append(call)
    return result


def _own_parameters(calls: list[_Call]) -> list[list[nn.Parameter]]:
    """Return the parameters that each row counts: a leaf its all, a container what no row counts below it."""
    counted = {p for call in calls if call.is_leaf for p in call.module.parameters()}
    own: list[list[nn.Parameter]] = []
    for call in reversed(calls):  # what is inside a container is listed after it
        parameters = [] if call.recursive else call.module.parameters()
        own.append([p for p in parameters if call.is_leaf or p not in counted])
        counted.update(own[-1])
    return own[::-1]


def _cells(row: LayerRow) -> tuple[str, str, str, str]:
    indent = "├─" if row.depth == 1 else "│    " * (row.depth - 1) + "└─"
    layer = f"{indent}{row.kind}: {row.depth}-{row.index}" if row.depth else row.kind
    shape = "--" if row.output_shape is None else str(list(row.output_shape))
    parameters = "(recursive)" if row.recursive else "--" if row.parameters is None else f"{row.parameters:,}"
    multiply_adds = "--" if row.multiply_adds is None else f"{row.multiply_adds:,}"
    return layer, shape, f"({parameters})" if row.frozen else parameters, multiply_adds


def _scaled(count: int) -> str:
    size, unit = next(((size, unit) for size, unit in ((1e12, "T"), (1e9, "G")) if count >= size), (1e6, "M"))
    scaled = count / size
    return f"({unit}): {scaled:,.0f}" if scaled.is_integer() else f"({unit}): {scaled:,.2f}"
