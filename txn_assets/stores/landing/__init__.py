"""The landing zone, where files arrive."""
