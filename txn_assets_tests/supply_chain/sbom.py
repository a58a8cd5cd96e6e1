"""Write the CycloneDX documents of the production lock and of the Python environment of the image.

    python -m txn_assets_tests.supply_chain.sbom FOLDER VENV

`VENV` holds what the image installs: the lock, synced as the Dockerfile does it. The tool knows which files are
installed there, but not from which distribution, so the distributions with their hashes are taken from the lock. The
same lock gives the same bytes: the documents have no time and no serial number.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from txn_assets_tests.supply_chain import LOCK, ROOT, say

DOCUMENTS = ("requirements.cdx.json", "image-python.cdx.json")
"""File names of the two documents: of the lock, and of the environment."""


def write(folder: Path, venv: Path, *, lock: Path = LOCK) -> tuple[Path, Path]:
    """Write both documents into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    of_lock, of_environment = (folder / name for name in DOCUMENTS)
    _cyclonedx("requirements", str(lock), of_lock)
    _cyclonedx("environment", str(venv), of_environment)
    distributions = {_key(one): one["externalReferences"] for one in _read(of_lock)["components"]}
    document = _read(of_environment)
    strangers = [one["name"] for one in document["components"] if _key(one) not in distributions]
    if strangers:
        message = f"{venv} has {', '.join(strangers)}, which {lock.name} does not: run setup.sh for it again."
        raise SystemExit(message)
    for component in document["components"]:
        component.setdefault("externalReferences", []).extend(distributions[_key(component)])
    of_environment.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    return of_lock, of_environment


def _cyclonedx(source: str, path: str, document: Path) -> None:
    # Warnings: the lock does not say what the project itself depends on, and documents are validated when complete.
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", source, path, "--no-validate"]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--spec-version", "1.6"]
    subprocess.run([*command, *options, "--output-file", str(document)], check=True, stderr=subprocess.DEVNULL)


def validate(paths: Iterable[Path]) -> None:
    """Compare the documents with the schema of CycloneDX.

    Raises:
        SystemExit: one is not valid.
    """
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for path in paths:
        if error := validator.validate_str(path.read_text()):
            message = f"{path} is not valid CycloneDX: {error}"
            raise SystemExit(message)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def _key(component: dict[str, Any]) -> tuple[str, str]:
    return canonicalize_name(component["name"]), component["version"]


def main() -> None:
    """Write the documents, and print how many components each has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("venv", type=Path)
    given = parser.parse_args()
    paths = write(given.folder, given.venv)
    validate(paths)
    for path in paths:
        say(f"{path}: {len(_read(path)['components'])} components")


if __name__ == "__main__":
    main()
