"""Shows a report: as text, in the book, and as a chart."""

import html
import re

from parts import CONNECTIONS, ROOT, Failed

PAGE = ROOT / "docs/explanation/cost.md"
CHART = ROOT / "docs/images/cost.svg"


def text(report):
    parts = []
    if report.get("clock"):
        parts += [headline(report) + ":", "CPU of Envoy in µs per request, every answer 200", aligned(clock_rows(report))]
        parts += [f"The clock judges nothing here: {'; '.join(report['clock']['loud'])}."] if report["clock"]["loud"] else []
    if report.get("counts"):
        parts += ["Instructions and cache misses of Envoy's own code per request", aligned(count_rows(report))]
    if report.get("figures"):
        parts += ["Figures", aligned(figure_rows(report))]
    return "\n\n".join(parts)


def headline(report):
    return f"Envoy {report['envoy']}, one worker on one core, {CONNECTIONS} connections over TLS"


def clock_rows(report):
    clock = report["clock"]
    rows = [["", "median", "middle half", "added", "service adds", "requests/s"]]
    for name, row in clock["variants"].items():
        low, high = row["quartiles"]
        added = "" if row["added"] is None or name == "none" else f"{row['added']:.1f}"
        service = f"{row['service']:.1f}" if row["service"] else ""
        rows.append(
            [report["labels"][name], f"{row['median']:.1f}", f"{low:.1f} - {high:.1f}", added, service, f"{row['requests_per_second']:.0f}"]
        )
    return rows


def count_rows(report):
    counts = report["counts"]
    base = counts.get("none")
    rows = [["", "instructions", "added", "in the module", "misses", "added"]]
    for name, row in counts.items():
        instructions, misses = row["instructions"], row["misses"]
        added = ["", ""]
        if base and name != "none":
            added = [f"{row[what]['all'] - base[what]['all']:,.0f}" for what in ("instructions", "misses")]
        within = f"{instructions['in_module']:,.0f}" if instructions["in_module"] and name.startswith(("native", "wasm", "empty", "before")) else ""
        rows.append([report["labels"][name], f"{instructions['all']:,.0f}", added[0], within, f"{misses['all']:,.0f}", added[1]])
    return rows


def figure_rows(report):
    rows = [["figure", "value", "must", "goal", "judged by", ""]]
    for row in report["figures"]:
        show = lambda value: "" if value is None else f"{value:,.0f}" if value > 1_000 else f"{value:.2f}"  # noqa: E731
        value = show(row["value"]) + (f" ({row['misses']:.2f} of misses)" if "misses" in row else "")
        limits = [f"≤ {show(row[limit])}" if row[limit] else "" for limit in ("must", "goal")]
        verdict = "" if row["must"] is None else "fails" if not row["holds"] else "holds"
        rows.append([row["figure"], value, *limits, row["by"], verdict])
    return rows


def aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip() for row in rows]
    return "\n".join(lines)


def markdown(rows):
    lines = [f"| {' | '.join(cell or ' ' for cell in row)} |".replace("|   |", "| |") for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def write(report):
    """Puts a report into the book."""
    page = PAGE.read_text()
    clock = report.get("clock")
    if clock:
        rounds = f"{headline(report)}; medians of {clock['rounds']} interleaved rounds, in µs of Envoy's CPU a request:"
        loud = f"\n\nThe clock judges nothing here: {'; '.join(clock['loud'])}." if clock["loud"] else ""
        page = put(page, "clock", f"{rounds}\n\n{markdown(clock_rows(report))}{loud}")
    page = put(page, "counts", markdown(count_rows(report)))
    page = put(page, "figures", markdown(figure_rows(report)))
    PAGE.write_text(page)
    CHART.write_text(chart(report))


def put(page, name, content):
    pattern = rf"(<!-- bench: {name} -->\n).*?(<!-- end of bench: {name} -->)"
    page, times = re.subn(pattern, lambda match: f"{match[1]}\n{content}\n\n{match[2]}", page, flags=re.DOTALL)
    if times != 1:
        raise Failed(f"{PAGE.relative_to(ROOT)} has the mark `bench: {name}` {times} times, and once is right.")
    return page


# The chart.

LEFT, BAR, STEP, WIDTH, TOP = 230, 18, 30, 960, 88
HUES = {"native": "native", "wasm": "wasm"}


def chart(report):
    """Bars of what each variant adds: by the clock, or in instructions where the machine was loud."""
    clock = report.get("clock")
    if clock and not clock["loud"]:
        unit, decimals = "µs of Envoy's CPU", 1
        added = {name: row["added"] for name, row in clock["variants"].items()}
    else:
        unit, decimals = "instructions", 0
        base = report["counts"]["none"]["instructions"]["all"]
        added = {name: row["instructions"]["all"] - base for name, row in report["counts"].items()}
    names = [name for name in added if name not in ("none", "before")]
    most = max(added[name] for name in names)
    # The rest is for the numbers behind the bars.
    scale = (WIDTH - LEFT - 120) / most
    height = TOP + STEP * len(names) + 20
    bars = []
    for place, name in enumerate(names):
        y, width = TOP + place * STEP, max(2, added[name] * scale)
        kind = next((kind for kind in HUES if name.startswith(kind)), "other")
        bars.append(
            f'  <text class="end" x="{LEFT - 12}" y="{y + 14}">{html.escape(report["labels"][name])}</text>\n'
            f'  <rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.0f}" height="{BAR}" rx="3"/>\n'
            f'  <text x="{LEFT + width + 8:.0f}" y="{y + 14}">{added[name]:,.{decimals}f}</text>'
        )
    title = "What a filter adds to a request"
    rows = "; ".join(f"{report['labels'][name]} {added[name]:,.{decimals}f}" for name in names)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">
  <title id="title">{title}, in {unit}</title>
  <desc id="desc">{html.escape(rows)}</desc>
  <style>
    :root {{ --page: #ffffff; --text: #1b2430; --quiet: #4a596b; --line: #c8d0da; --native: #0f6fc6; --wasm: #b45309; --other: #7b8794; }}
    @media (prefers-color-scheme: dark) {{
      :root {{ --page: #161b22; --text: #e6edf3; --quiet: #a9b6c6; --line: #3a4452; --native: #58a6ff; --wasm: #e0a04d; --other: #8b9bb0; }}
    }}
    text {{ font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--text); }}
    .page {{ fill: var(--page); }}
    .head {{ font-size: 17px; font-weight: 600; }}
    .small {{ font-size: 13px; fill: var(--quiet); }}
    .end {{ text-anchor: end; }}
    .axis {{ stroke: var(--line); stroke-width: 1; }}
    .native {{ fill: var(--native); }} .wasm {{ fill: var(--wasm); }} .other {{ fill: var(--other); }}
  </style>
  <rect class="page" x="0" y="0" width="{WIDTH}" height="{height}" rx="8"/>
  <text class="head" x="24" y="34">{title}, in {unit}</text>
  <text class="small" x="24" y="58">{html.escape(headline(report))}. Shorter is better.</text>
  <line class="axis" x1="{LEFT}" y1="{TOP - 8}" x2="{LEFT}" y2="{height - 12}"/>
{chr(10).join(bars)}
</svg>
"""
