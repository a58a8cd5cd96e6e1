"""The store in BigQuery."""
