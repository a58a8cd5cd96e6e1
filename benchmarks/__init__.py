"""Benchmarks of the platform and its peers, on the same rows and servers in the same run.

    data              the input files
    duckdb_session    DuckDB settings for those files
    child             one measured process
    measure           alternating processes in rounds; medians and peak memory
    stores            a benchmark's own names in the three stores, and what they hold
    ours              the platform's own processing and sinks, called in isolation
    peers/            what the platform is compared with, one module each
    bench             what the points share: files, names and comparisons
    points/           what is measured and the target for it, one module per point
    results           lines, dots and notes
    promises          the table of what each tool promises
    report            the table of results, and where it goes in docs/performance.md
    plot              docs/performance.svg

Run it with `make bench`. The results are in docs/performance.md.
"""
