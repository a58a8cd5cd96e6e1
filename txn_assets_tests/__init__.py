"""The tests: `unit` (the core, no server), `integration` (through the real servers), `local` and `deploy`."""
