"""The tests: `unit` (the core, no server), `integration` (the real servers), `local`, `deploy`, `faults`, `soak`."""
