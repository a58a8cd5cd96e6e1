"""Dagster's UI and the upload page in a real browser, as people use them: `make ui-test` and `make screenshots`."""
