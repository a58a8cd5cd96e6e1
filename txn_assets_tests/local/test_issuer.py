"""The issuer of the local stack, and the tokens that `txn token` prints."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jwt
import pytest

from txn_assets.cli import main
from txn_assets.config import load_config
from txn_assets.local.home import Home
from txn_assets.upload.auth import Subject, make_verifier
from txn_assets.upload.problems import Problem


def token(home: Path, *arguments: str) -> str:
    """Run `txn token` and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "txn_assets.cli", "token", *arguments],
        env=os.environ | {"TXN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.removesuffix("\n")


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - of the stack
        return json.load(response)


def test_token_is_accepted_by_the_service(stack_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`txn token` prints a token that the service accepts on the same stack, with what was asked for."""
    monkeypatch.setenv("TXN_HOME", str(stack_home))
    monkeypatch.setenv("TXN_TARGET", "local")
    verifier = make_verifier(load_config())
    assert verifier is not None
    plain = token(stack_home)
    claims = jwt.decode(plain, options={"verify_signature": False})

    subject = asyncio.run(verifier.subject_of(plain))

    assert subject == Subject("local", frozenset({"transactions:write", "sales:read"}))
    assert claims["exp"] - claims["iat"] == 3600

    other = token(stack_home, "--scope", "sales:read", "--subject", "Ann", "--minutes", "5")
    subject = asyncio.run(verifier.subject_of(other))
    assert subject == Subject("Ann", frozenset({"sales:read"}))
    head, _, signature = plain.split(".")
    with pytest.raises(Problem, match="not accepted"):
        asyncio.run(verifier.subject_of(f"{head}.{other.split('.')[1]}.{signature}"))


def test_secret_part_of_the_key_stays_in_its_file(stack_home: Path) -> None:
    """The issuer publishes the public part of the key, and only the owner can read the rest."""
    issuer = jwt.decode(token(stack_home), options={"verify_signature": False})["iss"]
    published = read(read(f"{issuer}/.well-known/openid-configuration")["jwks_uri"])["keys"]
    key_file = Home(stack_home).token_key
    kept = json.loads(key_file.read_text())

    assert published == [{name: value for name, value in kept.items() if name != "d"}]
    assert key_file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(f"{issuer}/token-key.json")


def test_token_of_another_issuer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where another issuer makes the tokens, `txn token` says so."""
    monkeypatch.setenv("TXN_TARGET", "gcp")

    assert main(["token"]) == 1

    assert "makes tokens of the local issuer only" in capsys.readouterr().err
