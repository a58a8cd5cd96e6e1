"""What is measured, one module per point, and the target for each.

    stages        point 1: validation and hashing
    sinks         points 2 and 3: each sink against the bare client
    small_runs    point 5: a five-row run, and the cost of an import
    whole_runs    point 4: from process start to exit
    growth        point 6: seconds per row, memory and disk

docs/performance.md explains the points. `POINTS` has them in the order in which they are measured: `whole_runs`
subtracts the empty run that `small_runs` times.
"""

from benchmarks.points import growth, sinks, small_runs, stages, whole_runs

POINTS = {
    "stages": stages.measure,
    "sinks": sinks.measure,
    "small_runs": small_runs.measure,
    "whole_runs": whole_runs.measure,
    "growth": growth.measure,
}
