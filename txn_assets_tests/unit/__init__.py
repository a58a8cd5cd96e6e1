"""The core without a server or a Dagster run: rows, files, hashes, totals, configuration and statements.

`rows.py` and `csv_files.py` make the test data; each other module tests the module that it is named after.
"""
