"""Benchmarks of the platform and its peers, on the same rows and servers in the same run.

    data      the input files
    duck      DuckDB settings for those files
    child     one measured process
    measure   alternating processes in rounds; medians and peak memory
    stores    a benchmark's own names in the three stores, and what they hold
    ours      the platform's own stages and sinks, called in isolation
    peers/    what the platform is compared with, one module each
    points    what is measured, point by point, and the target for each
    report    the table, docs/performance.md and the plot

Run it with `make bench`. The results are in docs/performance.md.
"""
