"""The values of an environment, merged the way Helm does it.

Reading and merging only; `rules.py` says what the values should be. Helm's merging is documented in docs/deploy.md and
at the top of helm-values/values.yaml.
"""

from pathlib import Path
from typing import Any

import yaml

type Values = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "helm-values"
ENVIRONMENTS = {
    "prod": (FOLDER / "values.yaml", FOLDER / "values-prod.yaml"),
    "local": (FOLDER / "values.yaml", FOLDER / "values-local.yaml"),
}
RELEASE, NAMESPACE = "dagster", "data-pipeline"


def load(path: Path) -> Values:
    """Return the content of one file."""
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict), f"{path.name} is not a map"
    return content


def merged(environment: str) -> Values:
    """Return the values that Helm would give the chart for `environment`, without the chart's own defaults."""
    values: Values = {}
    for path in ENVIRONMENTS[environment]:
        values = merge(values, load(path))
    return values


def merge(base: Values, over: Values) -> Values:
    """Merge `over` into `base`: maps key by key, anything else replaced; a null removes its key."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def code_location(values: Values) -> Values:
    """Return the only user code deployment."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert isinstance(deployment, dict)
    return deployment


def user_env(values: Values) -> str:
    """Return the name of the ConfigMap that the chart creates from the code location's `env`.

    It begins with `global.fullnameOverride`: the subchart's own override is not read, because Helm gives a subchart the
    helpers of its parent.
    """
    return f"{values['global']['fullnameOverride']}-{code_location(values)['name']}-user-env"


def webserver_service(values: Values) -> str:
    """Return the webserver's Service as the chart names it: after the release, regardless of the other names."""
    return f"{RELEASE}-{values['dagsterWebserver'].get('nameOverride') or 'dagster-webserver'}"


def run_launcher(values: Values) -> Values:
    """Return the settings of the run launcher."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert isinstance(launcher, dict)
    return launcher
