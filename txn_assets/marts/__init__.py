"""The marts: the current transactions, and the models built from them in BigQuery and in PostgreSQL."""
