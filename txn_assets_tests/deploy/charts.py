"""The official chart, rendered from our values by a real Helm.

Neither is part of the project: DAGSTER_CHART_DIR names an unpacked chart, HELM a binary (default: the `helm` on PATH),
HELM_OPTIONS extra options for each command. `manifests.py` checks the rendered objects.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

from txn_assets_tests.deploy.manifests import Manifest
from txn_assets_tests.deploy.values_files import ENVIRONMENTS, FOLDER, NAMESPACE, RELEASE


def chart_folder() -> Path | None:
    """Return the unpacked chart, if the environment names one."""
    folder = os.environ.get("DAGSTER_CHART_DIR")
    return Path(folder) if folder else None


def helm() -> str | None:
    """Return the Helm to use, if there is one."""
    return os.environ.get("HELM") or shutil.which("helm")


def missing() -> str | None:
    """Return why nothing can be rendered here, as a sentence; None if rendering is possible."""
    if chart_folder() is None:
        return "no chart: DAGSTER_CHART_DIR names no unpacked Dagster chart"
    if helm() is None:
        return "no helm: put one on PATH or name it in HELM (get_helm.py of the deploy-checks takes it from a wheel)"
    return None


def render(environment: str, *, options: Sequence[str] = ()) -> list[Manifest]:
    """Render every object that an installation of `environment` creates, with extra values set on the command line.

    `shared` means helm-values/values.yaml alone.
    """
    # Skip the chart's test hook: its pod runs only for `helm test` and has no security context.
    arguments = ["--namespace", NAMESPACE, "--skip-tests", *_value_files(environment)]
    arguments += [argument for option in options for argument in ("--set-string", option)]
    output = _helm("template", RELEASE, str(chart_folder()), *arguments)
    return [manifest for manifest in yaml.safe_load_all(output) if manifest]


def lint(environment: str) -> str:
    """Return the output of `helm lint --strict`; raise if it fails."""
    return _helm("lint", "--strict", str(chart_folder()), "--namespace", NAMESPACE, *_value_files(environment))


def _value_files(environment: str) -> list[str]:
    paths = ENVIRONMENTS.get(environment, (FOLDER / "values.yaml",))
    return [argument for path in paths for argument in ("--values", str(path))]


def _helm(*arguments: str) -> str:
    command = [str(helm()), *arguments, *os.environ.get("HELM_OPTIONS", "").split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"helm {arguments[0]}: {done.stderr}{done.stdout}"
    return done.stdout
