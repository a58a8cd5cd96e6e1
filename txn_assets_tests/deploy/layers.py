"""Look for secrets in the layers and the settings of a saved image (`podman save`, `docker save`)."""

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator

from txn_assets.environment import SECRETS

PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{32}")
CREDENTIALS = re.compile(r"(^|/)(\.env|\.netrc|\.pgpass|pgpass|id_(rsa|ed25519)|credentials\.json|[^/]+-password)$")


def find_secrets(image: tarfile.TarFile, values: Iterable[str] = ()) -> list[str]:
    """Return what in `image` is a secret: a private key, a credentials file, a variable, or one of `values`."""
    found = [f"variable {name} in the settings" for config in _configs(image) for name in SECRETS if name in config]
    planted = [value.encode() for value in values]
    for path, content in _files(image):
        if CREDENTIALS.search(path) or PRIVATE_KEY.search(content):
            found.append(f"credentials in {path}")
        found += [f"the value of a secret in {path}" for value in planted if value in content]
    return found


def _configs(image: tarfile.TarFile) -> Iterator[str]:
    for one in json.loads(_read(image, "manifest.json")):
        settings = json.loads(_read(image, one["Config"]))
        yield json.dumps([settings.get("config", {}).get("Env"), settings.get("history")])


def _files(image: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for one in json.loads(_read(image, "manifest.json")):
        for layer in one["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(_read(image, layer))) as content:
                for member in content:
                    if file := content.extractfile(member) if member.isfile() else None:
                        yield member.name, file.read()


def _read(image: tarfile.TarFile, name: str) -> bytes:
    file = image.extractfile(name)
    assert file, name
    return file.read()
