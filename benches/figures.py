"""The figures that a run judges: each has a limit that must hold, and a goal."""

import clock

# Growth over a configuration that is a hundred or a thousand times as large: a linear search would add a tenth at least.
MAX_FLAT = 1.05
# How much more the second half of a growing body may cost than its first.
MAX_LINEAR = 1.15
# The instructions in the module for one delivery. Measured: 32,300 and 17,900.
MAX_IN_MODULE = {"wasm": 33_000, "native": 16_500}
MAX_AGAINST = 1.01
NAMES = {"native": "native", "wasm": "Wasm"}


def judge(report, seen):
    """All figures of a report."""
    counts, growth = report.get("counts", {}), report.get("growth", {})
    rows = []

    def of_counts(text, one, other, must=None, goal=None):
        if {"none", one, other} <= counts.keys():
            value = ratio(counts, "instructions", one, other)
            rows.append(figure(text, value, must, goal, "instructions"))

    def of_clock(text, one, other, must, goal):
        row = by_clock(text, one, other, must, goal, report, seen)
        if not row and {"none", one, other} <= counts.keys():
            row = figure(text, ratio(counts, "instructions", one, other), must, goal, "instructions, misses")
            row["misses"] = ratio(counts, "misses", one, other)
            row["holds"] = row["holds"] and row["misses"] <= must
        rows.extend([row] if row else [])

    of_counts("native gate / Wasm gate", "native", "wasm", 0.38, 0.25)
    of_counts("both sign", "native-signs", "wasm-signs", 0.45)
    of_counts("both with an HS256 token", "native-hs256", "wasm-hs256")
    of_counts("both with an EdDSA token", "native-eddsa", "wasm-eddsa")
    of_counts("native gate / empty Wasm filter", "native", "empty-wasm", 2.3, 1.5)
    of_counts("Wasm gate / empty Wasm filter", "wasm", "empty-wasm")
    of_clock("native gate / Lua, CPU of Envoy", "native", "lua", 0.40, 0.25)
    of_clock("native gate / `ext_authz`, CPU of Envoy", "native", "ext-authz", 0.30, 0.15)
    of_counts("Wasm gate, now / before", "wasm", "before", MAX_AGAINST)
    for name, limit in MAX_IN_MODULE.items():
        if name in counts:
            value = counts[name]["instructions"]["in_module"]
            rows.append(figure(f"{NAMES[name]} module, its own instructions", value, limit, None, "instructions"))
    for module in ("native", "wasm"):
        rows += of_growth(module, growth)
    return rows


def by_clock(text, one, other, must, goal, report, seen):
    """A figure by the clock; `None` where the machine was loud, or its limit is within the interval."""
    if report.get("clock", {}).get("loud", True) or not {"none", one, other} <= seen.keys():
        return None
    value, interval = clock.ratio(seen, one, other)
    if value is None or interval[0] <= must < interval[1]:
        return None
    return figure(text, value, must, goal, "clock") | {"interval": interval}


def ratio(counts, what, one, other):
    added = lambda name: counts[name][what]["all"] - counts["none"][what]["all"]  # noqa: E731
    return added(one) / added(other)


def of_growth(module, growth):
    label = f"{NAMES[module]} gate"
    for what, few, many in (("ranges", 10, 10_000), ("hooks", 1, 1_000)):
        rows = [growth.get(f"{module}-{what}-{size}") for size in (few, many)]
        if all(rows):
            value = rows[1] / rows[0]
            yield figure(f"{label}, {what} {few:,} → {many:,}", value, MAX_FLAT, None, "instructions")
    bodies = growth.get(f"{module}-bodies")
    if bodies:
        (small, first), (middle, second), (large, third) = sorted((int(size), added) for size, added in bodies.items())
        value = (third - second) / (large - middle) / ((second - first) / (middle - small))
        text = f"{label}, body {small / 1000:.1f} → {large / 1000:.0f} KB: second half / first"
        yield figure(text, value, MAX_LINEAR, None, "instructions") | {"per_byte": (third - first) / (large - small)}


def figure(text, value, must, goal, by):
    return {"figure": text, "value": value, "must": must, "goal": goal, "by": by, "holds": must is None or value <= must}
