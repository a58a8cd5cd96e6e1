"""`make soak`: files come and go for minutes while `dagster dev` is killed and started again; nothing may be lost.

- `landing.py`: what lands, is overwritten and deleted, and the rows that the stores must hold for it;
- `outcome.py`: what the ledgers say, what the stores hold, what became of the runs;
- `__main__.py`: the course of it, the kills, and the table at the end.
"""
