"""The benchmark: what the platform costs, beside what others cost on the same rows and servers in the same run.

    data      the files that are loaded
    duck      DuckDB, set up for them
    child     one measured process
    measure   processes in turn, in rounds; medians and peak memory
    stores    names of its own in the three stores, and what they hold
    ours      the platform's own stages and sinks, called alone
    peers/    what it is measured against, one module each
    points    what is measured, point by point, and what is wanted
    report    the table, docs/performance.md and the plot

`make bench` runs it. Results stand in docs/performance.md.
"""
