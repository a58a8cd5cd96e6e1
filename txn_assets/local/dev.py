"""`python -m txn_assets.local.dev [PORT]`, the command behind `make dev`; see `defs/dev.py`."""

import sys

from txn_assets.defs.dev import main

if __name__ == "__main__":
    main(*sys.argv[1:])
