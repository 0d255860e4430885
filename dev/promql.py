"""The metrics that a PromQL expression names, and those that the reference has."""

import re

METRICS = "docs/reference/metrics.md"

# Words of PromQL that may stand where a metric may. A function has its parenthesis.
KEYWORDS = {"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"}
GROUPINGS = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\b(?:group_left|group_right)\b"


def metrics_of(expression):
    """The metrics that an expression names."""
    text = re.sub(r"#.*", " ", re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", '""', expression))
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(GROUPINGS, " ", text)
    names = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\w|\s*\()", text)
    return {name for name in names if name.lower() not in KEYWORDS}


def read_metrics(page):
    """The metrics of the tables, with the series of a histogram."""
    names = set()
    for line in page.splitlines():
        row = re.match(r"\| `(blobgate_\w+)` \|(.*)", line)
        if row:
            names.add(row[1])
            if row[2].strip().startswith("histogram"):
                names |= {f"{row[1]}_{part}" for part in ("bucket", "sum", "count")}
    return names
