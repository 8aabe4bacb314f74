"""The table of results, from the files of finished runs.

    python benchmarks/results.py keep RUN [RUN ...]     copy the small files of finished runs into benchmarks/results
    python benchmarks/results.py                        write docs/results.md, and the tables in the README and in
                                                        docs/fast.md, anew

A folder of results is named RECIPE_HARDWARE_sSEED. Every finished run of a recipe is kept and counted, with its final
epoch; several seeds on one kind of hardware become one line, with mean, standard deviation and 95% interval.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.stats
import yaml
from measuring.hardware import slug

import onecycle
from onecycle.files import read_csv, read_json, write_text
from onecycle.progress import duration
from onecycle.recipes import differences

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
KEPT = ("summary.json", "metrics.csv", "environment.json", "recipe.yaml", "lr_range.json")

# What the documents of the five course systems, and others, give for the same task.
PUBLISHED = {
    "eva6_s9_dropout": "90.05 last, 90.28 best",
    "eva6_s9_sgd": "91.63",
    "era_s10_package": "92.18",
    "era1_s10_compact": "84.77",
    "era_s12_lightning": "90.3",
}
OPEN = ("auto", "find")  # what a recipe leaves to the machine, the images or a range test
ORDER = ("custom_resnet", "custom_resnet_fast", "fast94", "fast90", *PUBLISHED)
FAST_HEADER = (
    "training",
    "seeds",
    "test accuracy, with test-time augmentation",
    "without",
    "seconds",
    "PFLOP",
    "seconds to airbench94_muon's",
    "machine",
)
STEPS_HEADER = (
    *("machine", "recipe", "a training step", "ms", "images/s", "times as fast as the line above"),
    "of the matrix rate",
)
HEADER = ("recipe", "published", "measured", "runs", "parameters", "epochs", "training", "machine", "files")


@dataclass(frozen=True)
class Result:
    """A kept run: its folder and what its summary says."""

    folder: Path
    summary: dict[str, Any]

    @property
    def label(self) -> str:
        """The recipe as `onecycle train` takes it in a shell, with what the run did otherwise than the shipped one."""
        changes = (shlex.quote(f"{key}={now}") for key, now in self.changes.items())
        return " --set ".join([self.summary["recipe"], *changes])

    @property
    def changes(self) -> dict[str, Any]:
        """What the run did otherwise than the shipped recipe says, by key."""
        shipped = onecycle.recipe(self.summary["recipe"])
        stored = differences(shipped, onecycle.recipe(self.folder / "recipe.yaml"))
        return {key: now for key, (before, now) in stored.items() if before not in OPEN and key != "seed"}

    @property
    def group(self) -> tuple[int, str, str]:
        """Runs of one group differ in their seed alone: place in the table, recipe, hardware."""
        recipe = self.summary["recipe"]
        place = ORDER.index(recipe) if recipe in ORDER else len(ORDER)
        return place, self.label, self.summary["device"]


def main() -> None:
    """Keep runs, or write the tables."""
    parser = argparse.ArgumentParser(description="Keep the results of runs, and tabulate them.")
    commands = parser.add_subparsers(dest="command")
    keeping = commands.add_parser("keep", help="copy the small files of finished runs into benchmarks/results")
    keeping.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    try:
        for run in arguments.runs if arguments.command == "keep" else []:
            print(f"kept {keep(onecycle.load(run)).relative_to(ROOT)}")
    except onecycle.UserError as error:
        parser.error(str(error))
    for path, text in pages().items():
        write_text(path, text)
        print(f"wrote {path.relative_to(ROOT)}")


def keep(run: onecycle.Run) -> Path:
    """Copy a finished run's small files into the folder named after its recipe, hardware and seed."""
    summary = run.summary
    folder = RESULTS / f"{summary['recipe']}_{slug(summary['device'])}_s{summary['seed']}"
    folder.mkdir(exist_ok=True)
    stored = folder / "recipe.yaml"
    if stored.exists() and stored.read_bytes() != (run.path / "recipe.yaml").read_bytes():
        raise onecycle.UserError(f"{folder}: holds a run of another recipe than {run.path}; move one of them away")
    for name in KEPT:
        (folder / name).unlink(missing_ok=True)
        if (run.path / name).exists():
            shutil.copyfile(run.path / name, folder / name)
    return folder


def pages() -> dict[Path, str]:
    """What docs/results.md, the README and docs/fast.md should hold."""
    readme, fast = ROOT / "README.md", ROOT / "docs" / "fast.md"
    tested = sorted(set(RESULTS.glob("fast_*_summary.csv")) - set(RESULTS.glob("fast_held_out_*")))
    sides = [line for path in tested for line in read_csv(path)]
    ways = [
        {**line, "machine": read_json(path.with_suffix(".json"))["environment"]["device_name"]}
        for path in sorted(RESULTS.glob("step_by_step_*.csv"))
        for line in read_csv(path)
    ]
    return {
        ROOT / "docs" / "results.md": _page(),
        readme: _with_tables(readme, results=table([one for one in kept() if not one.changes], Path())),
        fast: _with_tables(fast, results=fast_table(sides), steps=steps_table(ways)),
    }


def _with_tables(page: Path, **tables: str) -> str:
    """The page as it stands, with other tables between the marks of their names."""
    text = page.read_text(encoding="utf-8")
    for name, new in tables.items():
        begin, end = f"<!-- {name}: written by benchmarks/results.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{new}\n{end}{after}"
    return text


def kept() -> list[Result]:
    """The kept runs, those of a group together, by seed."""
    found = [Result(path.parent, read_json(path)) for path in RESULTS.glob("*/summary.json")]
    return sorted(found, key=lambda one: (one.group, one.summary["seed"]))


def table(results: Sequence[Result], beside: Path) -> str:
    """A Markdown table with a line for each group; links are relative to the folder `beside`, from the root."""
    groups: dict[Any, list[Result]] = {}
    for one in results:
        groups.setdefault(one.group, []).append(one)
    return _markdown(HEADER, [_line(runs, beside) for runs in groups.values()])


def fast_table(sides: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of trainings over seeds beside others, from the lines of benchmarks/fast.py's summaries.

    A column that has nothing in any line is left out.
    """
    lines = [
        (
            f"`{side['side']}`",
            side["seeds"],
            _spread(side, "accuracy_tta", 100, "{:.2f}"),
            _spread(side, "accuracy", 100, "{:.2f}"),
            _spread(side, "seconds", 1, "{:,.0f}"),
            f"{float(side['pflop']):.3f}",
            _spread(side, "seconds_to_airbench94_muon", 1, "{:.2f}"),
            side["hardware"],
        )
        for side in sides
    ]
    told = [place for place in range(len(FAST_HEADER)) if any(line[place] for line in lines)]
    header, *shown = [[line[place] for place in told] for line in (FAST_HEADER, *lines)]
    return _markdown(header, shown)


def steps_table(ways: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of what each thing that the loop does is worth, from the lines of benchmarks/step_by_step.py."""
    lines = []
    for before, way in zip([{}, *ways], ways, strict=False):
        elsewhere = before.get("machine") != way["machine"]
        first = elsewhere or before.get("recipe") != way["recipe"]
        faster = [way[key] for key in ("faster", "faster_min", "faster_max")]
        lines.append(
            (
                way["machine"] if elsewhere else "",
                f"`{way['recipe']}`" if first else "",
                way["way"] if first else f"+ {way['way']}",
                f"{float(way['ms']):,.0f}",
                f"{float(way['images_per_second']):,.0f}",
                "{:.2f} ({:.2f} to {:.2f})".format(*(float(one) for one in faster)) if all(faster) else "",
                f"{float(way['share_of_matrix']):.0%}",
            )
        )
    return _markdown(STEPS_HEADER, lines)


def _spread(line: Mapping[str, str], key: str, factor: float, form: str) -> str:
    """A mean, its standard deviation where it is given, and its 95% interval; of one training the value alone."""
    value, low, high, deviation = (
        form.format(factor * float(text)) if (text := line.get(f"{key}{part}", "")) else ""
        for part in ("", "_low", "_high", "_sd")
    )
    if not low:
        return value
    return f"{value} ({f'sd {deviation}, ' if deviation else ''}{low} to {high})"


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def _page() -> str:
    every = "\n".join(run_line(one) for one in kept())
    return f"""# Results

Written by `python benchmarks/results.py` from the files in [benchmarks/results](../benchmarks/results); do not edit.
Accuracy in percent of the whole test set after the final epoch, never of the best epoch. One run is called one run; the
mean of several has its standard deviation and 95% interval beside it. Training time is the median of several; it
leaves out loading, evaluation and checkpoints.

{table(kept(), Path("docs"))}

"Published" is what the course systems' own documents report, mostly of one seed, at times of the best epoch.

## Every run

| recipe | seed | accuracy | loss | training | machine | command |
|---|---|---|---|---|---|---|
{every}
"""


def _line(runs: list[Result], beside: Path) -> tuple[str, ...]:
    first = runs[0].summary
    seconds = statistics.median(one.summary["train_seconds"] for one in runs)
    up = "../" * len(beside.parts)
    links = [f"[s{one.summary['seed']}]({up}{one.folder.relative_to(ROOT).as_posix()})" for one in runs]
    return (
        f"`{runs[0].label}`",
        PUBLISHED.get(first["recipe"], ""),
        _measured([one.summary["test"] for one in runs]),
        _count(runs),
        f"{first['parameters']:,}",
        str(first["epochs"]),
        duration(seconds),
        first["device"],
        " ".join(links),
    )


def _measured(tests: Sequence[Mapping[str, Any]]) -> str:
    plain = _accuracy([100 * test["accuracy"] for test in tests])
    augmented = [100 * test["accuracy_tta"] for test in tests if test.get("accuracy_tta") is not None]
    return f"{plain}; with test-time augmentation {_accuracy(augmented)}" if augmented else plain


def _accuracy(percents: list[float]) -> str:
    if len(percents) == 1:
        return f"{percents[0]:.2f}"
    mean, deviation = statistics.mean(percents), statistics.stdev(percents)
    half = scipy.stats.t.ppf(0.975, len(percents) - 1) * deviation / len(percents) ** 0.5
    return f"{mean:.2f} (sd {deviation:.2f}, {mean - half:.2f} to {mean + half:.2f})"


def _count(runs: list[Result]) -> str:
    seeds = [str(one.summary["seed"]) for one in runs]
    return f"one, seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)}, seeds {', '.join(seeds)}"


def run_line(one: Result) -> str:
    """A kept run in the table of every run."""
    summary, test = one.summary, one.summary["test"]
    augmented = test.get("accuracy_tta")
    recipe = yaml.safe_load((one.folder / "recipe.yaml").read_text(encoding="utf-8"))
    cells = (
        f"`{one.label}`",
        str(summary["seed"]),
        f"{100 * test['accuracy']:.2f} of {test['images']:,}"
        + ("" if augmented is None else f", {100 * augmented:.2f} with test-time augmentation"),
        f"{test['loss']:.4f}",
        duration(summary["train_seconds"]),
        f"{summary['device']}, {recipe['precision']}",
        f"`onecycle train {one.label} --seed {summary['seed']}`",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
