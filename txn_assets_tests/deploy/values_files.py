"""The values of an environment, put together as Helm does it.

Here belong reading and merging. What the values should say is in `rules.py`.
Helm's merging is documented in docs/deploy.md and at the head of helm-values/values.yaml.
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
    """The content of one file."""
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict), f"{path.name} is not a map"
    return content


def merged(environment: str) -> Values:
    """The values that Helm would hand to the chart for `environment`, the chart's own defaults left out."""
    values: Values = {}
    for path in ENVIRONMENTS[environment]:
        values = merge(values, load(path))
    return values


def merge(base: Values, over: Values) -> Values:
    """`over` laid on `base`: maps key by key, anything else replaced, a null removes its key."""
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
    """The one user code deployment."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert isinstance(deployment, dict)
    return deployment


def user_env(values: Values) -> str:
    """The ConfigMap that the chart makes of the code location's `env`.

    Its name begins with `global.fullnameOverride`: the sub-chart's own is not read, since Helm gives a sub-chart the
    helpers of its parent.
    """
    return f"{values['global']['fullnameOverride']}-{code_location(values)['name']}-user-env"


def webserver_service(values: Values) -> str:
    """The Service of the webserver, as the chart names it: after the release, whatever the other names begin with."""
    return f"{RELEASE}-{values['dagsterWebserver'].get('nameOverride') or 'dagster-webserver'}"


def run_launcher(values: Values) -> Values:
    """The settings of the run launcher."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    assert isinstance(launcher, dict)
    return launcher
