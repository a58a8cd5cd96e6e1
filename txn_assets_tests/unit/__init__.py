"""The core, with no server and no Dagster run."""
