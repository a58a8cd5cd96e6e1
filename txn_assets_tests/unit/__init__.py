"""The core with no server and no Dagster run: rows, files, hashes, totals, configuration and statements.

`rows.py` makes what the tests speak of; each other module tests the module of the package that it is named after.
"""
