"""What is measured with, and what was found: rows of ratios, and the table of them."""

import statistics
import sys


class Case:
    """What is measured with what, and the rows that all cases share."""

    def __init__(self, program, work, rows, *, size, repeat, quick):
        self.program, self.work, self.rows = program, work, rows
        self.size, self.repeat, self.quick = size, repeat, quick

    def left_out(self, what, missing):
        """Says that something is not measured; true if anything is missing."""
        if missing:
            print(f"left out: {what}, without {', '.join(missing)}", file=sys.stderr)
        return bool(missing)

    def interleave(self, more=1, **measures):
        """Takes each measure once a round; returns its values, round by round.  What is measured in
        no time is best taken in more rounds."""
        values = {name: [] for name in measures}
        for _ in range(more * self.repeat):
            for name, measure in measures.items():
                values[name].append(measure())
        return values

    def add(self, case, against, ratios, ours, theirs, unit, aim=None):
        """A row of the table: `ratios` are better when larger."""
        row = {
            "case": case, "against": against, "unit": unit, "aim": aim,
            "glancefs": statistics.median(ours), "other": statistics.median(theirs),
            "ratio": statistics.median(ratios), "ratios": sorted(ratios),
        }
        self.rows.append(row)
        print(f"{row['ratio']:8.2f}  {case} / {against}", file=sys.stderr)

    def add_rates(self, case, against, ours, theirs, aim=None, unit="MB/s", scale=1e6):
        """Rates of the same thing, round by round."""
        ratios = [our / their for our, their in zip(ours, theirs)]
        scaled = [[value / scale for value in values] for values in (ours, theirs)]
        self.add(case, against, ratios, *scaled, unit, aim)

    def add_times(self, case, against, ours, theirs, aim=None, unit="ms", scale=1e-3):
        """Times, or anything else of which less is better, round by round."""
        ratios = [their / our for our, their in zip(ours, theirs)]
        scaled = [[value / scale for value in values] for values in (ours, theirs)]
        self.add(case, against, ratios, *scaled, unit, aim)

    def add_absolute(self, case, values, unit, limit=None, least=None):
        """Something that is compared with nothing but a limit, or with the least it should be."""
        median = statistics.median(values)
        self.rows.append({
            "case": case, "against": None, "unit": unit, "aim": limit if least is None else least,
            "more_is_better": least is not None, "glancefs": median, "values": sorted(values),
            "ratio": None,
        })
        print(f"{median:8.1f}  {case} ({unit})", file=sys.stderr)


def is_met(row):
    """Whether a row's aim is; None if it has none."""
    if row["aim"] is None:
        return None
    if row["against"] is not None:
        return row["ratio"] >= row["aim"]
    if row["more_is_better"]:
        return row["glancefs"] >= row["aim"]
    return row["glancefs"] < row["aim"]


def figure(value):
    """A figure with as many digits as are worth showing."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows):
    """The rows in Markdown."""
    lines = ["| case | against | glancefs | the other | ratio (lowest–highest) | aim | |",
             "|---|---|---:|---:|---:|---:|---|"]
    for row in rows:
        unit, values = row["unit"], row.get("ratios") or row["values"]
        ours = f"{figure(row['glancefs'])} {unit}"
        if row["against"] is None:
            ours += f" ({figure(values[0])}–{figure(values[-1])})"
            cells = [row["case"], "", ours, "", ""]
            sign = "≥" if row["more_is_better"] else "<"
            aim = f"{sign} {row['aim']} {unit}"
        else:
            ratio = f"**{row['ratio']:.2f}** ({values[0]:.2f}–{values[-1]:.2f})"
            cells = [row["case"], row["against"], ours, f"{figure(row['other'])} {unit}", ratio]
            aim = f"≥ {row['aim']}"
        met = {None: "", True: "met", False: "MISSED"}[is_met(row)]
        lines.append("| " + " | ".join([*cells, aim if met else "", met]) + " |")
    return "\n".join(lines)
