"""The release in a cluster, through kubectl and helm as a user has them.

Only what `helm-values/` and the official chart install; `files.py` knows the stores.
"""

import base64
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from txn_assets.defs.jobs import LOAD
from txn_assets.environment import LOCAL_ENDPOINTS, PG_PASSWORD, project_root
from txn_assets.local.in_container import PORTS
from txn_assets_tests.deploy.charts import chart_folder
from txn_assets_tests.deploy.values_files import ENVIRONMENTS, FOLDER, NAMESPACE, RELEASE

PATIENCE = 900
"""Seconds that a step may take: pulling images and starting a dozen interpreters on a busy laptop."""

_OFFICIAL = "https://dagster-io.github.io/helm"
_SERVERS = "local-servers"
RUN = f"dagster/job={LOAD}"
"""Labels of the pods of runs that load files. The marts are refreshed in pods too."""
DAEMON = "deployment=daemon"
CODE_SERVER = "component=user-deployments"


class ClusterError(Exception):
    """The cluster did not do what a step needs. The message says what was asked and what came back."""


def missing(context: str) -> str | None:
    """Return why there is no cluster to test on, as a sentence; None if there is one."""
    if not context:
        return "no cluster is named: make cluster-test CONTEXT=kind-data (`kubectl config get-contexts` lists them)"
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            return f"{tool} is not on PATH"
    done = _run("kubectl", "--context", context, "--request-timeout=20s", "get", "--raw", "/readyz")
    return f"no cluster answers in the context {context}: {_last_line(done)}" if done.returncode else None


@dataclass(frozen=True)
class Release:
    """The platform in the cluster of one context."""

    context: str

    def kubectl(self, *arguments: str, content: str | None = None) -> str:
        """Return the output of kubectl in our namespace, with `content` as its input."""
        return _output("kubectl", "--context", self.context, "--namespace", NAMESPACE, *arguments, content=content)

    def helm(self, *arguments: str) -> None:
        """Run helm in our namespace."""
        _output("helm", "--kube-context", self.context, "--namespace", NAMESPACE, *arguments)

    def prepare(self) -> None:
        """Create what docs/deploy.md creates by hand, and start the local servers. Keep what is there."""
        if not self.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"):
            self.kubectl("create", "namespace", NAMESPACE)
        password = secrets.token_hex(16)
        self._secret("txn-assets-secrets", PG_PASSWORD, password)
        self._secret("dagster-postgresql-secret", "postgresql-password", self.password())
        config = f"--from-file={project_root() / 'data' / 'pipeline_config.yaml'}"
        made = self.kubectl("create", "configmap", "txn-assets-config", config, "--dry-run=client", "--output=yaml")
        self.kubectl("apply", "--filename=-", content=made)
        self.kubectl("apply", f"--filename={FOLDER / 'local-servers.yaml'}")
        self.kubectl("rollout", "status", f"statefulset/{_SERVERS}", f"--timeout={PATIENCE}s")

    def _secret(self, name: str, key: str, value: str) -> None:
        if not self.kubectl("get", "secret", name, "--ignore-not-found", "--output=name"):
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}}
            # As input, because every user of this machine can read arguments.
            self.kubectl("create", "--filename=-", content=json.dumps(secret))

    def password(self) -> str:
        """Return the password of the local servers' roles."""
        encoded = self.kubectl("get", "secret", "txn-assets-secrets", f"--output=jsonpath={{.data.{PG_PASSWORD}}}")
        return base64.b64decode(encoded).decode()

    def install(self, tag: str) -> None:
        """Install the release, or upgrade it, with the image `tag` and the options in HELM_OPTIONS."""
        folder = chart_folder()
        version = importlib.metadata.version("dagster")
        chart = [str(folder)] if folder else ["dagster", "--repo", _OFFICIAL, "--version", version]
        values = [f"--values={path}" for path in ENVIRONMENTS["local"]]
        location = "dagster-user-deployments.deployments[0]"
        images = [f"{section}.image.tag={tag}" for section in (location, "dagsterWebserver", "dagsterDaemon")]
        sets = [argument for image in images for argument in ("--set-string", image)]
        options = [*sets, "--wait", f"--timeout={PATIENCE}s", *os.environ.get("HELM_OPTIONS", "").split()]
        self.helm("upgrade", "--install", RELEASE, *chart, *values, *options)

    def roll_back(self) -> None:
        """Go back to the revision before the last one."""
        self.helm("rollback", RELEASE, "--wait", f"--timeout={PATIENCE}s")

    def pods(self, selector: str) -> list[Mapping[str, Any]]:
        """Return the pods with these labels, oldest first."""
        found = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def delete_pods(self, selector: str) -> set[str]:
        """Delete the pods with these labels, without waiting, and return their names."""
        names = {str(pod["metadata"]["name"]) for pod in self.pods(selector)}
        self.kubectl("delete", "pod", *names, "--wait=false")
        return names

    def kill(self, name: str) -> None:
        """Kill a pod, and wait until it is gone. With --force, its processes would have a minute to end in order."""
        self.kubectl("delete", "pod", name, "--now")

    def log(self, name: str) -> str:
        """Return what a pod has printed so far; empty if it has not started yet."""
        try:
            return self.kubectl("logs", name)
        except ClusterError:
            return ""

    def wait_until_ready(self) -> None:
        """Wait until every Deployment has the pods that it should have."""
        for name in self.kubectl("get", "deployments", "--output=name").split():
            self.kubectl("rollout", "status", name, f"--timeout={PATIENCE}s")

    @contextmanager
    def forwarded(self) -> Iterator[Mapping[str, str]]:
        """Yield the variables for clients of the local servers, which are forwarded to ports of this machine."""
        ports = {PORTS[name]: name for name in ("gcs", "bigquery", "postgres")}
        command = ["kubectl", "--context", self.context, "--namespace", NAMESPACE, "port-forward", f"pod/{_SERVERS}-0"]
        with subprocess.Popen(
            [*command, *(f":{port}" for port in ports)], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout
                found: dict[str, int] = {}
                for line in process.stdout:
                    if match := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line):
                        found[ports[int(match[2])]] = int(match[1])
                    if len(found) == len(ports):
                        break
                else:
                    message = f"`{' '.join(command)}` ended with {process.wait()}"
                    raise ClusterError(message)
                endpoints = {
                    "gcs_url": f"http://127.0.0.1:{found['gcs']}",
                    "bigquery_url": f"http://127.0.0.1:{found['bigquery']}",
                    "postgres_host": "127.0.0.1",
                    "postgres_port": found["postgres"],
                }
                yield {LOCAL_ENDPOINTS: json.dumps(endpoints), PG_PASSWORD: self.password()}
            finally:
                process.terminate()


def wait_for[T](what: str, look: Callable[[], T | None], *, seconds: float = PATIENCE) -> T:
    """Return what `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(1)
    message = f"{what} did not happen within {seconds:.0f} seconds"
    raise ClusterError(message)


def image_of(pod: Mapping[str, Any]) -> str:
    """Return the tag of a pod's image."""
    return str(pod["spec"]["containers"][0]["image"]).rpartition(":")[2]


def _output(*command: str, content: str | None = None) -> str:
    done = _run(*command, content=content)
    if done.returncode:
        message = f"`{' '.join(command)}` failed: {_last_line(done)}"
        raise ClusterError(message)
    return done.stdout


def _run(*command: str, content: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=content, capture_output=True, text=True, check=False)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return ((done.stderr or done.stdout).strip().splitlines() or ["no message"])[-1]
