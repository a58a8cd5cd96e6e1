"""`python -m txn_assets.local up|status|env|down`: the commands about the local servers; see `commands/servers.py`."""

import sys

if __name__ == "__main__":
    from txn_assets.cli import local_main

    sys.exit(local_main())
