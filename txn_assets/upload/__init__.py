"""The upload service: files over HTTP into the landing zone, what became of them, and the marts to read."""
