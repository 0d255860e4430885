"""Measures the CPU per request of each variant by the clock, in interleaved rounds."""

import random
import statistics

from parts import progress

# Above these limits the clock judges nothing. Other programs and other machines on the same hardware distort the numbers.
MAX_OTHERS = 0.05
MAX_STOLEN = 0.01
# Of the interquartile range of the rounds without a filter, as a part of their median.
MAX_SPREAD = 0.08
# Fewer rounds prove nothing.
MIN_ROUNDS = 5
# The number of resamples of the rounds for the interval of a ratio: the percentile bootstrap.
DRAWS = 4_000
# The part of the resamples that is cut at each end.
TAIL = 0.05


def measure(rig, chosen, rounds, seconds, answers, smoke):
    """The rounds of each variant, by name. `answers` checks a variant's answers first."""
    envoys = {}
    for variant in chosen.values():
        progress(f"starting: {variant.label}")
        envoys[variant.name] = rig.start(variant)
        answers(envoys[variant.name], variant)
    # Warm up until V8 has compiled hot code.
    seen = {}
    for variant in chosen.values():
        progress(f"warming up: {variant.label}")
        run = rig.load(variant, envoys[variant.name], 1 if smoke else 2)
        seen[variant.name] = [run] if smoke else []
    names = list(chosen)
    for number in range(0 if smoke else rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            progress(f"round {number + 1} of {rounds}: {chosen[name].label}")
            seen[name].append(rig.load(chosen[name], envoys[name], seconds))
    progress("")
    for envoy in envoys.values():
        envoy.stop()
    return seen


def summary(seen):
    """Medians and spread, and why the clock judges nothing."""
    rows = {}
    base = median(seen["none"]) if seen.get("none") else None
    for name, runs in seen.items():
        cpu = [run["cpu_us"] for run in runs]
        low, middle, high = quartiles(cpu)
        rows[name] = {
            "median": middle,
            "quartiles": [low, high],
            "added": middle - base if base is not None else None,
            "service": statistics.median(run["service_us"] for run in runs),
            "requests_per_second": statistics.median(run["requests_per_second"] for run in runs),
            "requests": sum(run["requests"] for run in runs),
        }
    every = [run for runs in seen.values() for run in runs]
    others, stolen = (statistics.median(run[what] for run in every) for what in ("others", "stolen"))
    low, high = rows["none"]["quartiles"] if "none" in rows else (0, 0)
    spread = (high - low) / base if base else 0
    rounds = min(map(len, seen.values()))
    why = [
        text
        for is_so, text in (
            (others > MAX_OTHERS, f"other programs took {others:.0%} of the two cores"),
            (stolen > MAX_STOLEN, f"{stolen:.0%} of the time was stolen"),
            (spread > MAX_SPREAD, f"the middle half of the rounds without a filter differs by {spread:.0%}"),
            (rounds < MIN_ROUNDS, f"{rounds} rounds prove nothing"),
        )
        if is_so
    ]
    return {"rounds": rounds, "others": others, "stolen": stolen, "spread": spread, "loud": why, "variants": rows}


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def median(runs):
    return statistics.median(run["cpu_us"] for run in runs)


def ratio(seen, one, other):
    """What `one` adds in units of what `other` adds, and its interval in nine of ten draws of the rounds."""
    rounds = list(zip(*([run["cpu_us"] for run in seen[name]] for name in ("none", one, other))))

    def of(drawn):
        none, first, second = (statistics.median(column) for column in zip(*drawn))
        return (first - none) / (second - none) if second > none else None

    # A fixed seed: the same rounds give the same interval.
    draw = random.Random(0)
    drawn = [of(draw.choices(rounds, k=len(rounds))) for _ in range(DRAWS)]
    ordered = sorted(float("inf") if value is None else value for value in drawn)
    end = int(TAIL * DRAWS)
    return of(rounds), [ordered[end], ordered[-1 - end]]
