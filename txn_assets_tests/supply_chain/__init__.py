"""What the production environment is made of: its SBOM, its licenses, and the vulnerabilities known of it.

`make sbom`, `make licenses` and `make audit` run these modules. See docs/security.md, 'Supply chain'.
"""

import functools
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"

say = functools.partial(print, flush=True)
