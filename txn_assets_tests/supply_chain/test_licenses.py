"""`make licenses`: every locked package has a license that the project allows."""

from email.message import Message
from importlib import metadata

import pytest

from txn_assets_tests.supply_chain.licenses import UNKNOWN, Policy, declared, main, packages, problems

POLICY = Policy(frozenset({"MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"}), {})


def test_production_lock_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    """The licenses of the real lock are allowed, and each package is listed with its own."""
    assert main() == 0
    listed = dict(line.split(maxsplit=2)[::2] for line in capsys.readouterr().out.splitlines()[:-1])
    assert (listed["certifi"], listed["cryptography"]) == ("MPL-2.0", "Apache-2.0 OR BSD-3-Clause")
    # No image has what is for Windows alone.
    assert "pywin32" not in listed


def test_new_license_is_named() -> None:
    """A license that is no longer allowed fails with the name of each package that has it; so does a stale entry."""
    policy = Policy.read()
    fewer = Policy(policy.allow - {"MPL-2.0"}, {**policy.packages, "gone": "MIT"})
    wrong = problems(packages(fewer), fewer)
    assert [sentence.split()[0] for sentence in wrong] == ["certifi", "tqdm", "gone:"]
    assert wrong[0].endswith("[tool.licenses] in pyproject.toml does not allow its license, MPL-2.0.")


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("(MIT OR GPL-3.0-only) AND AGPL-3.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("AND MIT", False),
        (UNKNOWN, False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    """One license of a choice is enough, all of a conjunction are needed, and what is unknown is refused."""
    assert POLICY.permits(expression) is allowed


@pytest.mark.parametrize(
    ("fields", "license_"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "GPL"}, "MIT OR Apache-2.0"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "ISC"}, "ISC"),
        ({"License": "Copyright 2026\nAll rights reserved", "Classifier": "License :: OSI :: MIT License"}, "MIT"),
        ({"License": "Our own license"}, UNKNOWN),
        ({"Classifier": "License :: Free for non-commercial use"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_metadata(fields: dict[str, str], license_: str) -> None:
    """The expression counts first, then the field, then the classifiers; what cannot be read is unknown."""
    message = Message()
    for name, value in fields.items():
        message[name] = value
    about: metadata.PackageMetadata = message  # type: ignore[assignment]  # importlib.metadata's is such a message
    assert declared(about) == license_
