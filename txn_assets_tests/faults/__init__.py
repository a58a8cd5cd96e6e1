"""Nothing lost, nothing duplicated: `bench` provides files and stores, `proxy` and `child` break things.

`python -m txn_assets_tests.faults` (`make faults`) sweeps the same faults over whole conversations and prints a table.
"""
