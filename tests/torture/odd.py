"""Odd recipes, `--set` values and command lines, as Hypothesis strategies."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from onecycle import registry
from onecycle.recipes import flatten, recipe
from onecycle.recipes.schema import Recipe, fields_at

COMPONENTS = ("model", "optimizer", "schedule")


def _keys() -> list[str]:
    """Every dotted key that some recipe may have."""
    keys = [f"{part}.{key}" for part in Recipe.model_fields for key in fields_at([part])]
    keys += [part for part in Recipe.model_fields if not fields_at([part])]
    for kind in COMPONENTS:
        keys += [
            f"{kind}.{key}" for name in registry.names(kind) for key in registry.options(registry.load(kind, name))
        ]
    return sorted({*keys, *(f"{kind}.name" for kind in COMPONENTS), *Recipe.model_fields})


KEYS = _keys()
SHIPPED = [recipe(name) for name in registry.names("recipe")]
NAMES = [name for kind in (*COMPONENTS, "data") for name in registry.names(kind)]
WORDS = sorted({str(v) for one in SHIPPED for v in flatten(one.model_dump()).values() if isinstance(v, str)})

letters = st.text(max_size=12) | st.text("[]{}:,&*!|>'\"#%@-?~.e0123 \n\tab\0\x1b\x85\u2028\ud800\udcff", max_size=16)
large = st.integers(0, 4000).map(lambda digits: 10**digits)
numbers = (
    st.integers(-3, 64)
    | st.integers()
    | large
    | st.floats()
    | st.floats(0, 2)
    | st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 5e-324, 1e-30, 1e30, 1e38, 1e39, 1.7e308, 0.9999999999999999])
)
scalars = st.none() | st.booleans() | numbers | st.sampled_from([*NAMES, *WORDS, "find", "auto", "none", ""]) | letters
words = st.sampled_from(sorted({key.rpartition(".")[2] for key in KEYS})) | st.text(max_size=5) | st.integers(0, 9)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
pairs = st.lists(st.tuples(numbers, numbers).map(list), max_size=5)
rarely = st.integers(0, 60).map(lambda number: number == 42)
long_lists = rarely.map(lambda rare: [[number, 0.5] for number in range(2000 if rare else 20)])


def yaml_text(value: Any) -> str:
    """Without the line of dots that PyYAML ends a plain scalar with; numbers of any length are written out in full."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    try:
        return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n")
    except ValueError:  # an integer of more digits than Python will print
        return hex(2**20000)


_tags = ["bool", "int", "float", "null", "timestamp", "binary", "set", "omap", "pairs", "merge", "value", "seq", "map"]
tagged = st.builds(
    lambda tag, value: f"!!{tag} {value}", st.sampled_from([*_tags, "python/name:os.system", "nothing"]), letters
)


def _bomb(depth: int, width: int, form: str) -> str:
    """Each line stands for `width` of the one before."""
    lines = ["a0: &a0 {x: 1}" if form == "merge" else "a0: &a0 [1, 2]"]
    for level in range(1, depth):
        inner = ", ".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{inner}]}}" if form == "merge" else f"[{inner}]"))
    return "\n".join(lines)


bombs = st.builds(_bomb, st.integers(1, 60), st.integers(1, 10), st.sampled_from(["merge", "list"]))
deep = st.builds(
    lambda opening, closing, depth: opening * depth + closing * depth,
    *(st.sampled_from(one) for one in (["[", "{a: ", "- ", "? ", "[[1], "], ["]", "}", ""])),
    st.integers(1, 3000),
)
special = st.sampled_from(
    [
        *("&a [*a]", "&a {a: *a}", "2020-01-01", "2020-13-45", "2020-01-01 00:00:00 +99:99", "!!set {a, b}"),
        *("<<: 3", "0x1F", "1_000", "12:30:45", "=", "0b1", "0o7", "08", "1e400", "-.inf", ".NaN", "*b", "&"),
        *("!", "%YAML 9.9", "---", "...", "--- 1\n--- 2", "'", '"\\ud800"', '"\\U00110000"', '"\\x00"'),
        *("!<x> 1", "[1, 2, 3", "{a: 1, a: 2}", "{? [1] : 2}", "!!int ''", "!!float ''", "!!bool x"),
        *("!!timestamp x", "190:20:30.15", "~", "\ufeff1", "1:1:1:1", "!!binary aGk=", "!!omap [a: 1]"),
        *("!!pairs [[1, 2]]", "{1: 2}", "{.nan: 1}", "{~: 1}", "[[0, 0.1], [1, 0.2]]", "null", "on", "No", "@"),
        *("`"),
    ]
)
long_numbers = st.builds(
    lambda start, digit, count: start + digit * count,
    st.sampled_from(["", "-", "0x", "0b", "1.", "1e", "-1e-", "1:"]),
    st.sampled_from(["1", "0", "9", "1:"]),
    st.integers(1, 6000),
)
texts = values.map(yaml_text) | special | letters | tagged | bombs | deep | long_numbers
texts = texts | pairs.map(yaml_text) | long_lists.map(yaml_text)


def _near(key: str) -> st.SearchStrategy[str]:
    """A slip of the key."""
    places = st.integers(0, len(key))
    swapped = places.map(lambda at: key[:at] + key[at + 1 : at + 2] + key[at : at + 1] + key[at + 2 :])
    return swapped | places.map(lambda at: key[:at] + key[at + 1 :]) | st.sampled_from([f"{key}.name", f" {key}", ""])


keys = st.one_of(*[st.sampled_from(KEYS)] * 4, st.sampled_from(KEYS).flatmap(_near), letters)
assignments = st.tuples(keys, texts).map("=".join) | st.tuples(keys, numbers.map(yaml_text)).map("=".join) | letters

_TEXTS = [one.to_yaml() for one in SHIPPED]


@st.composite
def _mended(draw: st.DrawFn) -> str:
    """A shipped recipe with some lines changed."""
    lines = draw(st.sampled_from(_TEXTS)).splitlines()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(":")[0]
        change = draw(st.sampled_from(["value", "value", "value", "value", "drop", "twice", "insert", "indent", "cut"]))
        if change == "value":
            lines[at] = f"{key}: {draw(numbers.map(yaml_text) | texts)}"
        elif change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "twice":
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif change == "insert":
            lines.insert(at, draw(texts))
        elif change == "indent":
            lines[at] = " " * draw(st.integers(1, 3)) + lines[at]
        else:
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
    return "\n".join(lines)


_parts = st.dictionaries(
    st.sampled_from(sorted(Recipe.model_fields)) | words, values | st.fixed_dictionaries({"name": scalars}), max_size=6
)
_long = rarely.map(lambda rare: "a: [" + "1, " * (30_000 if rare else 200) + "1]")
_written = texts | st.one_of(*[_mended()] * 6) | _parts.map(yaml_text) | _long
files = st.one_of(*[_written.map(lambda text: text.encode(errors="surrogatepass"))] * 6, st.binary(max_size=200))

_SHARES = st.floats(0, 1) | st.sampled_from([0, 1, 0.5, 1e-300, 0.9999999999999999])
_RATES = ["schedule.lr_max", "schedule.lr", "schedule.lr_min", "optimizer.weight_decay", "optimizer.eps"]
_RATES += ["optimizer.adamw_lr", "model.norm_eps", "data.split_seed", "seed", "evaluate_every", "schedule.threshold"]
_OF_SHARES = ["augment.shift", "augment.scale", "augment.cutout_probability", "augment.affine_probability", "ema.decay"]
_OF_SHARES += ["loss.label_smoothing", "tta_share", "data.val_fraction", "optimizer.momentum", "model.norm_momentum"]
_CHANNELS = st.lists(numbers, min_size=3, max_size=3)
possible = (
    st.tuples(st.sampled_from(_OF_SHARES), _SHARES.map(yaml_text)).map("=".join)
    | st.tuples(st.sampled_from(_RATES), (_SHARES | numbers).map(yaml_text)).map("=".join)
    | st.tuples(
        st.sampled_from(["data.mean", "data.std"]), st.lists(numbers, min_size=3, max_size=3).map(yaml_text)
    ).map("=".join)
    | st.lists(st.tuples(st.integers(0, 3), st.integers(8, 40)).map(list), max_size=3).map(
        lambda found: "augment.resize=" + yaml_text(found)
    )
    | st.lists(st.tuples(st.integers(1, 3), st.floats(1e-9, 1)).map(list), max_size=3).map(
        lambda found: "data.hardest=" + yaml_text(found)
    )
    | st.sampled_from(["tta=flip_shift", "tta=flip", "precision=bf16", "precision=fp16", "data.drop_last=true"])
    | st.integers(1, 24).map(lambda limit: f"data.train_limit={limit}")
    | st.sampled_from([f"{kind}.name={name}" for kind in ("optimizer", "schedule") for name in registry.names(kind)])
    | st.sampled_from([f"model.norm={norm}" for norm in ("batch", "layer", "group", "instance", "none")])
    | st.integers(0, 40).map(lambda side: f"augment.cutout={side}")
    | st.integers(0, 64).map(lambda side: f"augment.crop_padding={side}")
    | st.just("augment.padding=reflect")
)
