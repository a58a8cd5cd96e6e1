"""List the license of every package in the production lock, and fail on one that nobody has allowed.

    python -m txn_assets_tests.supply_chain.licenses

The metadata of the installed packages says the license, and `license-expression` evaluates what it says: of `A OR B`
one is enough, of `A AND B` both must be allowed. pip-licenses compares whole strings, so each combination would need an
entry of its own. The allow-list is `[tool.licenses]` in pyproject.toml.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from license_expression import ExpressionError, get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from txn_assets_tests.supply_chain import LOCK, ROOT, say

UNKNOWN = "unknown"

IN_OLD_METADATA = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "LicenseRef-BSD",
    "BSD 3-Clause OR Apache-2.0": "BSD-3-Clause OR Apache-2.0",
    "BSD License": "LicenseRef-BSD",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What metadata older than PEP 639 says, as SPDX expressions. `LicenseRef-BSD`: it does not say which BSD license."""

_SPDX = get_spdx_licensing()


@dataclass(frozen=True)
class Policy:
    """What is allowed: SPDX ids, and the expressions of packages whose own metadata does not say it."""

    allow: frozenset[str]
    packages: Mapping[str, str]

    @classmethod
    def read(cls, path: Path = ROOT / "pyproject.toml") -> "Policy":
        """Read the policy from `[tool.licenses]`."""
        table = tomllib.loads(path.read_text())["tool"]["licenses"]
        return cls(frozenset(table["allow"]), table["packages"])

    def permits(self, expression: str) -> bool:
        """Return whether the licenses that `expression` leaves to choose from include allowed ones."""
        try:
            parsed = _SPDX.parse(expression)
        except ExpressionError:
            return False
        symbols = _SPDX.license_symbols(parsed, decompose=False)
        values = {one: _SPDX.TRUE if str(one) in self.allow else _SPDX.FALSE for one in symbols}
        return bool(parsed.subs(values).simplify() == _SPDX.TRUE)


@dataclass(frozen=True)
class Package:
    """A locked package with its license, an SPDX expression or `UNKNOWN`."""

    name: str
    version: str
    license: str


def locked(lock: Path = LOCK) -> Iterator[Requirement]:
    """Yield what `lock` installs on this platform, which is the image's."""
    for line in lock.read_text().splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def packages(policy: Policy, lock: Path = LOCK) -> list[Package]:
    """Return the packages of `lock` with their licenses.

    Raises:
        SystemExit: this environment is not that of the lock.
    """
    found = []
    for requirement in locked(lock):
        name = canonicalize_name(requirement.name)
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            about = None
        if about is None or not requirement.specifier.contains(about["Version"], prereleases=True):
            message = f"{requirement} is not installed here: run make setup."
            raise SystemExit(message)
        found.append(Package(name, about["Version"], policy.packages.get(name) or declared(about)))
    return found


def declared(about: metadata.PackageMetadata) -> str:
    """Return what the metadata of a package says about its license; `UNKNOWN` if that is not a license."""
    if expression := about.get("License-Expression"):
        return str(expression)
    text = (about.get("License") or "").strip()
    classifiers = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License")]
    if expression := IN_OLD_METADATA.get(text) or (text if _is_spdx(text) else ""):
        return expression
    # A text of a license, or nothing: the classifiers. Nothing says that one of several is enough.
    return " AND ".join(IN_OLD_METADATA.get(one, UNKNOWN) for one in classifiers) or UNKNOWN


def _is_spdx(text: str) -> bool:
    return bool(text) and "\n" not in text and not _SPDX.validate(text).errors


def problems(found: Sequence[Package], policy: Policy) -> list[str]:
    """Return a sentence for each package with a license that is not allowed, and for each entry without a package."""
    refused = [
        f"{one.name} {one.version}: [tool.licenses] in pyproject.toml does not allow its license, {one.license}."
        for one in found
        if not policy.permits(one.license)
    ]
    names = {one.name for one in found}
    unused = [f"{name}: [tool.licenses.packages] has it, the lock does not." for name in policy.packages.keys() - names]
    return refused + sorted(unused)


def main() -> int:
    """Print the list; return 1 if a license is not allowed."""
    policy = Policy.read()
    found = packages(policy)
    width = max(len(f"{one.name} {one.version}") for one in found)
    for one in found:
        say(f"{f'{one.name} {one.version}':<{width}}  {one.license}")
    wrong = problems(found, policy)
    for sentence in wrong:
        say(sentence, file=sys.stderr)
    say(f"{len(found)} packages, {len(wrong)} with a license that is not allowed")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
