"""Nothing lost, nothing twice: `bench` holds files and stores, `proxy` and `child` break things.

`python -m txn_assets_tests.faults` (`make faults`) sweeps the same over whole conversations and prints a table.
"""
