"""`python -m txn_assets.defs.loaded_image [IMAGE]`: print the image whose definitions this webserver shows.

After an upgrade, a webserver may silently keep the definitions of the previous image. Run this in each webserver pod,
which it queries over GraphQL; see docs/deploy.md. Use only the standard library.
"""

import argparse
import http.client
import json
import sys
from collections.abc import Mapping
from typing import Any

_QUERY = """{ workspaceOrError { ... on Workspace { locationEntries {
  name
  loadStatus
  locationOrLoadError { ... on PythonError { message } }
  displayMetadata { key value }
} } } }"""


def problem(entry: Mapping[str, Any], expected: str | None) -> str | None:
    """Return what is wrong with a code location, or None if it is loaded (from the image `expected`, if given)."""
    failure = (entry["locationOrLoadError"] or {}).get("message")
    if failure or entry["loadStatus"] != "LOADED":
        return f"not loaded: {failure or 'the webserver is still waiting for its code server'}"
    if expected and image(entry) != expected:
        return f"from {image(entry)} instead of {expected}: restart this webserver"
    return None


def image(entry: Mapping[str, Any]) -> str:
    """Return the image of the code server that supplied the definitions."""
    metadata = {item["key"]: item["value"] for item in entry["displayMetadata"]}
    return str(metadata.get("image", "an image without a name"))


def main() -> int:
    """Print one line per code location; return 1 if one is not loaded or comes from a different image."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets.defs.loaded_image", description=__doc__)
    parser.add_argument("image", nargs="?", help="the image that the definitions must come from")
    parser.add_argument("--port", type=int, default=8080, help="port of the webserver (default: %(default)s)")
    arguments = parser.parse_args()
    connection = http.client.HTTPConnection("127.0.0.1", arguments.port, timeout=60)
    try:
        connection.request("POST", "/graphql", json.dumps({"query": _QUERY}), {"Content-Type": "application/json"})
        entries = json.load(connection.getresponse())["data"]["workspaceOrError"]["locationEntries"]
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"No webserver answers on port {arguments.port} of this pod: {error}.\n")
        return 1
    problems = [problem(entry, arguments.image) for entry in entries]
    for entry, wrong in zip(entries, problems, strict=True):
        sys.stdout.write(f"{entry['name']}: {wrong or image(entry)}\n")
    return 1 if any(problems) or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
