"""What a training on 8 to 512 GPUs would cost, and where more of them stop paying: arithmetic, no measurement.

    python benchmarks/scale_on_paper.py         write the tables of docs/scaling.md and its picture anew

What is measured is read from benchmarks/results or counted (measuring/paper_inputs.py); what is assumed stands in
`Cluster` and `tasks`, and in the page's table. The model is in measuring/paper.py. The table of trainings is also kept
as benchmarks/results/scale_on_paper.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator
from measuring.arguments import RESULTS
from measuring.paper import GB, Cluster, Network, Plan, Task, best, efficiency, efficiency_of_epochs, pays_until
from measuring.paper_inputs import Counted, counted, tasks

from onecycle.files import write_csv, write_text
from onecycle.plots import Figure, save
from onecycle.plots.style import BLUE, GREEN, GREY, ORANGE, style
from onecycle.progress import duration

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs" / "scaling.md", ROOT / "docs" / "images" / "scaling.png"
CSV = RESULTS / "scale_on_paper.csv"
GPUS = (1, 8, 16, 32, 64, 128, 256, 512)
INFINIBAND = Network("eight ports of 200 Gbit/s a node", 160 * GB)
ETHERNET = Network("one port of 100 Gbit/s a node", 10 * GB)


def main() -> None:
    """Write page, table and picture."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    known = counted()
    write_text(PAGE, page(known))
    rows = table(known)
    write_csv(CSV, rows, list(rows[0]))
    save(picture(known), PICTURE)
    for path in (PAGE, CSV, PICTURE):
        print(f"wrote {path.relative_to(ROOT)}")


def page(known: Counted) -> str:
    """What docs/scaling.md should hold: its own text, with the tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in {
        "measured": _measured(known),
        "all-reduce": _all_reduce(known),
        "batch of 512": _fixed(known),
        "trainings": _trainings(known),
        "limits": _limits(known),
        "feeding": _feeding(known),
    }.items():
        begin, end = f"<!-- {name}: written by benchmarks/scale_on_paper.py -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = "\n".join([before + begin, *lines, end]) + rest.split(end)[1]
    return text


def table(known: Counted) -> list[dict[str, Any]]:
    """The trainings, a row for each number of GPUs."""
    return [_row(plan) for task in tasks(known) for plan in _plans(task)]


def _plans(task: Task, cluster: Cluster | None = None) -> list[Plan]:
    return [best(task, cluster or Cluster(INFINIBAND), gpus) for gpus in GPUS]


def _row(plan: Plan) -> dict[str, Any]:
    return {
        "set": plan.task.name,
        "gpus": plan.gpus,
        "batch": plan.batch,
        "batch_a_gpu": plan.own,
        "epochs": round(plan.task.epochs_at(plan.batch), 1),
        "step_ms": round(1e3 * plan.step, 2),
        "waiting_ms": round(1e3 * plan.exposed, 2),
        "images_per_second": round(plan.rate),
        "epochs_s": round(plan.training, 1),
        "whole_s": round(plan.seconds, 1),
        "gpu_hours": round(plan.gpu_hours, 2),
        "efficiency": round(efficiency(plan), 3),
        "efficiency_of_epochs": round(efficiency_of_epochs(plan), 3),
    }


def _measured(known: Counted) -> list[str]:
    mb = 1e6
    rows = [
        ("parameters, with 10 and with 1,000 classes", f"{known.parameters:,}; {known.parameters_1000:,}"),
        (
            "arithmetic of an image of 32 x 32 pixels, forward and backward",
            f"{known.gflop:.2f} GFLOP; four times that at 64 x 64",
        ),
        (
            "gradients of a step, float32 and bfloat16",
            f"{4 * known.parameters / mb:.1f} MB; {2 * known.parameters / mb:.1f} MB",
        ),
        ("checkpoint, with AdamW's two moments", f"{known.checkpoint / mb:.1f} MB"),
        (
            "of the backward pass, still to come when the gradients of layer3 are there",
            f"{known.coming:.0%} of the multiplications, {1 - known.ready:.0%} of the bytes",
        ),
        ("training, two cores of an AMD EPYC", f"{known.rate:,.0f} images/s"),
        ("augmentation, two cores", f"{known.augmenting:,.0f} images/s"),
        ("drawing an epoch's plan, one core", f"{1e6 * known.plan:.3f} s for a million images"),
        ("from the start to the first step, mapped set", f"{1e9 * known.reading:.2f} s a GB"),
    ]
    return _markdown(("what", "figure"), rows)


def _all_reduce(known: Counted) -> list[str]:
    rows = []
    for network in (INFINIBAND, ETHERNET):
        for words, size in (("float32", 4), ("bfloat16", 2)):
            times = [Cluster(network).all_reduce(gpus, size * known.parameters) for gpus in GPUS[1:]]
            rows.append((network.name, words, *(f"{1e3 * one:.2f}" for one in times)))
    return _markdown(("between nodes", "gradients", *map(str, GPUS[1:])), rows)


def _fixed(known: Counted) -> list[str]:
    task = tasks(known)[0]
    plans = [Plan(task, Cluster(INFINIBAND), gpus, 512) for gpus in GPUS]
    rows = [
        (
            str(plan.gpus),
            str(plan.own),
            f"{1e3 * plan.arithmetic:.2f}",
            f"{1e3 * plan.exposed:.2f}",
            f"{1e3 * plan.step:.2f}",
            f"{plan.rate:,.0f}",
            f"{plan.rate / plan.gpus / plans[0].rate:.0%}",
        )
        for plan in plans
    ]
    head = ("GPUs", "images a GPU", "arithmetic, ms", "waiting, ms", "step, ms", "images/s", "of N times one")
    return _markdown(head, rows)


def _trainings(known: Counted) -> list[str]:
    lines = []
    for task in tasks(known):
        rows = [
            (
                str(plan.gpus),
                f"{plan.batch:,}",
                f"{task.epochs_at(plan.batch):.1f}",
                f"{1e3 * plan.step:.1f}",
                f"{plan.rate:,.0f}",
                duration(plan.training),
                duration(plan.seconds),
                f"{plan.gpu_hours:.2f}",
                f"{efficiency(plan):.0%}",
                f"{efficiency_of_epochs(plan):.0%}",
            )
            for plan in _plans(task)
        ]
        head = ("GPUs", "batch", "epochs", "step, ms", "images/s", "epochs take", "in all", "GPU-hours", "efficiency")
        lines += [f"**{task.name}**", "", *_markdown((*head, "of the epochs"), rows), ""]
    return lines[:-1]


def _limits(known: Counted) -> list[str]:
    base, three = Cluster(INFINIBAND), tasks(known)
    h100 = replace(base, peak=989e12, in_node=450 * GB, network=Network("", 320 * GB))
    half = [replace(one, net=replace(one.net, gradient_bytes=one.net.gradient_bytes / 2)) for one in three]
    cases: list[tuple[str, Cluster, list[Task]]] = [
        ("as assumed", base, three),
        ("a fifth of the GPU's peak", replace(base, share=0.2), three),
        ("half of the GPU's peak", replace(base, share=0.5), three),
        ("H100 (989 TFLOP/s; 450 GB/s in a node, eight ports of 400 Gbit/s), the same share", h100, three),
        (ETHERNET.name, Cluster(ETHERNET), three),
        (f"{ETHERNET.name}, gradients in bfloat16", Cluster(ETHERNET), half),
        ("critical batches of half the size", base, [replace(one, critical=one.critical / 2) for one in three]),
        ("critical batches of twice the size", base, [replace(one, critical=2 * one.critical) for one in three]),
        ("images not read before the first step", base, [replace(one, read_seconds=0.0) for one in three]),
        (
            "images not read before the first step, plan drawn meanwhile",
            base,
            [replace(one, read_seconds=0.0, plan_seconds=0.0) for one in three],
        ),
    ]
    measures = (efficiency, efficiency_of_epochs)
    rows = [
        (words, *(" / ".join(str(pays_until(task, cluster, one)) for one in measures) for task in of))
        for words, cluster, of in cases
    ]
    return _markdown(("", *(task.name for task in three)), rows)


def _feeding(known: Counted) -> list[str]:
    rows = []
    for task in tasks(known):
        cluster = Cluster(INFINIBAND)
        size = task.images * task.image_bytes
        on_gpu = size <= cluster.memory / 2
        rate = cluster.peak * cluster.share / task.net.flop
        rows.append(
            (
                task.name,
                f"{size / GB:,.1f} GB",
                "on the GPU" if on_gpu else "on disk",
                "none" if on_gpu else f"{rate * task.image_bytes * cluster.per_node / GB:.1f} GB/s",
                f"{34 * task.images / GB:.2g} GB",  # 26 bytes of plan, 8 of labels
                f"{task.plan_seconds:.2g} s",
                duration(task.read_seconds),
            )
        )
    head = ("set", "pixels", "where they lie", "read by a node of 8", "plan and labels a process", "plan of an epoch")
    return _markdown((*head, "read before the first step"), rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def picture(known: Counted) -> Figure:
    """Time and efficiency over the number of GPUs, as it stands and, dashed, of the epochs alone."""
    figure = Figure(9, 3.6, "Scale on paper: custom ResNet on A100s, arithmetic and not a measurement")
    left, right = figure.subplots(1, 2)
    for task, colour in zip(tasks(known), (BLUE, ORANGE, GREEN), strict=True):
        plans = _plans(task)
        left.plot(GPUS, [plan.seconds / 60 for plan in plans], color=colour, marker="o", markersize=3, label=task.name)
        left.plot(GPUS, [plans[0].seconds / 60 / gpus for gpus in GPUS], ":", color=colour, linewidth=1)
        right.plot(GPUS, [100 * efficiency(plan) for plan in plans], color=colour, marker="o", markersize=3)
        right.plot(GPUS, [100 * efficiency_of_epochs(plan) for plan in plans], "--", color=colour, linewidth=1)
    left.set_yscale("log")
    right.axhline(50, color=GREY, linewidth=0.8)
    _dress(left, "minutes in all; dotted: N times as fast as one")
    _dress(right, "% efficiency in all; dashed: of the epochs alone")
    right.set_ylim(0, 105)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _dress(axes: Axes, title: str) -> None:
    style(axes, title)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("GPUs")
    axes.set_xticks(GPUS)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))


if __name__ == "__main__":
    main()
