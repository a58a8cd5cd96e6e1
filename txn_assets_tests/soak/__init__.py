"""`make soak`: files come and go for minutes while `dagster dev` is killed and restarted; nothing may be lost.

- `landing.py`: what lands, is overwritten and deleted, and the rows that the stores must hold for it;
- `outcome.py`: what the ledgers say, what the stores hold, how the runs ended;
- `__main__.py`: the schedule, the kills, and the table at the end.
"""
