# SPDX-License-Identifier: GPL-2.0
"""Draws what was recorded. Runs in the lab's root with matplotlib.

usage: chart.py BASELINE SVG
"""

import json
import sys

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot, ticker  # noqa: E402

NAMES = {"ipv4": "IPv4", "ipv6": "IPv6", "mapped": "IPv4 on [::]"}
KINDS = [(f"{key}-{tag}", f"{name}, {tag}") for tag in ("tagged", "untagged")
         for key, name in NAMES.items()]
STOCK, LOADED = "#b8bec8", "#2f6db3"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Text stays text, and the same numbers make the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "toa",
}


def bars(axes, rows, operation, label):
    """A pair of bars for each kind of connection, without and with the module."""
    kinds = [(kind, name) for kind, name in KINDS if f"{operation} {kind}" in rows]
    for place, (kind, _) in enumerate(kinds):
        row = rows[f"{operation} {kind}"]
        axes.barh(place - 0.2, row["stock"], 0.36, color=STOCK)
        axes.barh(place + 0.2, row["loaded"], 0.36, color=LOADED)
        axes.text(row["loaded"], place + 0.2, f" {label(row)}", va="center")
    axes.set_yticks(range(len(kinds)), [name for _, name in kinds])
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5))


def growth(axes, rows):
    """What one costs by how many there are, relative to what it costs when there are ten."""
    lines = {"getpeername ipv4-tagged": "getpeername()", "cycle ipv4-tagged": "whole connection"}
    for (prefix, name), color in zip(lines.items(), (LOADED, "#c7622b"), strict=True):
        points = []
        for row in rows:
            operation, _, live = row["row"].partition(", ")
            if operation == prefix:
                points.append((int(live.split()[0].replace(",", "")) if live else 10, row["growth"]))
        axes.plot(*zip(*points), marker="o", markersize=4, color=color, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.minorticks_off()
    axes.yaxis.set_major_locator(ticker.MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.2f}"))
    axes.set_ylim(0.9, max(1.1, *(row["growth"] + 0.05 for row in rows)))
    axes.legend(frameon=False, loc="upper left")


def draw(baseline, path):
    bench = next(iter(baseline["bench"].values()))
    rows = {row["row"]: row for row in bench["rows"]}
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.3), width_ratios=(1, 1, 0.9))
    axes[0].set_title("getpeername(), instructions", loc="left")
    bars(axes[0], rows, "getpeername", lambda row: f"× {row['ratio']:.2f}")
    axes[1].set_title("whole connection, instructions", loc="left")
    bars(axes[1], rows, "cycle", lambda row: f"{row['added']:+,}")
    axes[1].set_yticklabels([])
    axes[2].set_title("growth with live connections", loc="left")
    growth(axes[2], baseline["scale"]["rows"])
    for color, name in ((STOCK, "without toa.ko"), (LOADED, "with toa.ko")):
        axes[0].barh(0, 0, color=color, label=name)
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=2, frameon=False,
                  loc="lower left", bbox_to_anchor=(0.0, -0.01))
    figure.text(0.99, 0.02, f"Linux {bench['kernel']}, {bench['date']}", ha="right", color="#666")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    pyplot.rcParams.update(STYLE)
    with open(sys.argv[1]) as file:
        draw(json.load(file), sys.argv[2])
