"""The I/O managers, one store each: `staging` between the assets, and the three sinks `gcs`, `bigquery`, `postgres`."""
