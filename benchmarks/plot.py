"""Draw docs/performance.svg: rows against seconds and memory, log-log, ours and peers."""

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "benchmarks"  # makes the file the same for the same dots

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen

from benchmarks.child import Timer  # noqa: E402 - after the backend is chosen


def draw(_: Timer, *, dots: list[tuple[str, int, float, float]], path: str) -> None:
    """Draw `dots`: (who, rows, seconds, MiB)."""
    figure, (time, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for who in dict.fromkeys(dot[0] for dot in dots):
        mine = sorted(dot[1:] for dot in dots if dot[0] == who)
        rows = [dot[0] for dot in mine]
        time.plot(rows, [dot[1] for dot in mine], marker="o", label=who)
        memory.plot(rows, [dot[2] for dot in mine], marker="o", label=who)
    for axes, label in ((time, "seconds, process start to exit"), (memory, "peak resident memory, MiB")):
        axes.set(xscale="log", yscale="log", xlabel="rows", ylabel=label)
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
    memory.axhline(1024, color="grey", linestyle=":")
    figure.savefig(path, metadata={"Date": None})
