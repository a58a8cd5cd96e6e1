"""Watch the platform from outside a run: what alerts say and where they go, and the metrics."""
