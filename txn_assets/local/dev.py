"""`python -m txn_assets.local.dev [PORT]`: the same as `txn dev`; see `defs/dev.py`."""

import sys

if __name__ == "__main__":
    from txn_assets.cli import main

    sys.exit(main(["dev", *sys.argv[1:]]))
