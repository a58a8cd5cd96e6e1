"""`python -m txn_assets.local up|down|status|env`: the same as `txn up` and so on; see `cli.py`."""

import sys

if __name__ == "__main__":
    from txn_assets.cli import main

    sys.exit(main())
