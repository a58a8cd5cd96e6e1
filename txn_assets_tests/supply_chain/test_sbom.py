"""`make sbom`: what is in the documents, and that the same input gives the same bytes."""

import json
import re
import shutil
import venv
from importlib import metadata
from pathlib import Path

import pytest

from txn_assets_tests.supply_chain import LOCK
from txn_assets_tests.supply_chain.sbom import validate, write


def _lock(folder: Path, name: str) -> Path:
    """Return a lock with the entry of one package in the real one."""
    entry = re.search(rf"^{name}==.*\n(?: +--hash.*\n)+", LOCK.read_text(), re.MULTILINE)
    assert entry
    path = folder / "requirements.lock"
    path.write_text(entry[0])
    return path


def _install(environment: Path, name: str) -> None:
    """Put the metadata of an installed package into `environment`."""
    (site,) = environment.glob("lib/python*/site-packages")
    found = metadata.distribution(name)
    folder = Path(str(found.locate_file(""))) / f"{name}-{found.version}.dist-info"
    shutil.copytree(folder, site / folder.name)


def test_documents(tmp_path: Path) -> None:
    """Both documents name the package with its hashes, twice the same; what the lock does not have is refused."""
    lock, environment = _lock(tmp_path, "six"), tmp_path / "venv"
    venv.create(environment, with_pip=False)
    _install(environment, "six")
    documents = write(tmp_path / "first", environment, lock=lock)
    validate(documents)
    first = [path.read_bytes() for path in documents]
    again = [path.read_bytes() for path in write(tmp_path / "again", environment, lock=lock)]
    assert first == again
    locked = set(lock.read_text().split("sha256:")[1:])
    for document in map(json.loads, first):
        (component,) = document["components"]
        assert component["purl"] == f"pkg:pypi/six@{metadata.version('six')}"
        (distribution,) = (one for one in component["externalReferences"] if one["type"] == "distribution")
        assert {one["content"] for one in distribution["hashes"]} == {text[:64] for text in locked}
        assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "txn-assets")
        assert str(tmp_path) not in json.dumps(document)

    _install(environment, "idna")
    with pytest.raises(SystemExit, match=r"has idna, which requirements\.lock does not"):
        write(tmp_path / "stranger", environment, lock=lock)
