"""Ask a source of advisories which locked packages have known vulnerabilities.

    python -m txn_assets_tests.supply_chain.audit [--url URL]

pip-audit asks for each locked version. Where no source answers it, nothing was audited, and the exit code says so:

    0   the source knows no vulnerability
    1   it knows some
    3   nothing was audited

The source is asked first about a version that is known to be vulnerable, because a mirror that answers everything with
"none" would otherwise look like good news. `uv audit` needs a uv.lock, which the project does not have.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from txn_assets_tests.supply_chain import LOCK, say
from txn_assets_tests.supply_chain.licenses import locked

NOT_AUDITED = 3

KNOWN = "jinja2==2.4.1"
"""A version with advisories since 2014."""


class NotAuditedError(Exception):
    """Raised when no source says what is known."""


def ask(requirements: Path, *options: str) -> list[dict[str, Any]]:
    """Return what the source says about each package in `requirements`.

    Raises:
        NotAuditedError: there is no answer.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--vulnerability-service", "osv"]
    quiet = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--desc", "off"]
    done = subprocess.run([*command, *quiet, *options], check=False, capture_output=True, text=True)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError) as error:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it printed nothing"]
        message = f"pip-audit got no answer from the source of advisories ({said[-1][:300]})"
        raise NotAuditedError(message) from error


def audit(lock: Path, *options: str) -> list[str]:
    """Return a line for each known vulnerability of the packages in `lock`.

    Raises:
        NotAuditedError: the source does not answer, or not about every package.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as known:
        known.write(f"{KNOWN}\n")
        known.flush()
        if not any(one.get("vulns") for one in ask(Path(known.name), *options)):
            message = f"the source of advisories knows none of {KNOWN}, which has some"
            raise NotAuditedError(message)
    found = ask(lock, *options)
    answered = {one["name"] for one in found if "vulns" in one}
    if missing := sorted({one.name for one in locked(lock)} - answered):
        message = f"the source of advisories does not answer about {', '.join(missing)}"
        raise NotAuditedError(message)
    return [
        f"{one['name']} {one['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for one in found
        for vulnerability in one["vulns"]
    ]


def main() -> int:
    """Print what is known, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="address of another OSV API")
    given = parser.parse_args()
    try:
        found = audit(LOCK, *(["--osv-url", given.url] if given.url else []))
    except NotAuditedError as error:
        say(f"Nothing was audited: {error}. Run make audit where it can be reached.")
        return NOT_AUDITED
    for line in found:
        say(line)
    say(f"{len(list(locked()))} packages of {LOCK.name}, {len(found)} known vulnerabilities")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
