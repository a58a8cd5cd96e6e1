"""The core without a server or a Dagster run: rows, files, hashes, totals, configuration and statements.

`rows.py` makes the test data; each other module tests the module of the package that it is named after.
"""
