"""`make cluster-test CONTEXT=... TAG=... NEXT_TAG=...`: the steps, one line each.

After each step the files so far are compared in the three stores with what was sent. The exit code is 0 if all steps
succeed, or if there is no cluster; then the reason is printed.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from google.api_core.exceptions import GoogleAPIError

from txn_assets.environment import project_root
from txn_assets_tests.cluster.files import Files
from txn_assets_tests.cluster.release import (
    CODE_SERVER,
    DAEMON,
    RUN,
    ClusterError,
    Release,
    image_of,
    missing,
    wait_for,
)
from txn_assets_tests.deployment import Deployment

LARGE = 100_000
"""Rows of the file whose run is killed: it loads for seconds, so that the kill meets it at work."""


@dataclass(frozen=True)
class Steps:
    """The steps after the installation; each returns what to print."""

    release: Release
    files: Files

    def load(self) -> str:
        """Land three files, and wait for their runs."""
        before = self._runs()
        self.files.wait(*(self.files.land(f"first-{number}", 1_000) for number in range(3)))
        runs = wait_for("a run pod", lambda: self._runs() - before)
        wait_for("the end of the run pods", lambda: not self._busy())
        failed = [name for name in runs if self._phases().get(name) == "Failed"]
        if failed:
            message = f"the run pods {failed} failed"
            raise ClusterError(message)
        return f"{len(runs)} run pods"

    def replace(self) -> str:
        """Land a file again with other rows."""
        self.files.wait(self.files.land("first-0", 1_200, price="2.25"))
        return "1,000 rows replaced by 1,200"

    def kill_run(self) -> str:
        """Kill the pod of a run while it loads the stores."""
        before = self._runs()
        name = self.files.land("killed", LARGE)
        (pod,) = wait_for("a run pod", lambda: self._runs() - before)
        wait_for("the stores' turn", lambda: '"stage": "validated_transactions"' in self.release.log(pod))
        self.release.kill(pod)
        if self.files.is_loaded(name):
            message = f"{pod} had loaded {name} before it was killed: land more than {LARGE} rows"
            raise ClusterError(message)
        self.files.wait(name)
        return f"{pod} killed, and the file loaded by the run's retry"

    def delete_platform(self) -> str:
        """Delete the pods of the daemon and of the code server while a file lands."""
        gone = self.release.delete_pods(DAEMON) | self.release.delete_pods(CODE_SERVER)
        name = self.files.land("orphaned", 1_000)
        self.release.wait_until_ready()
        self.files.wait(name)
        return f"{len(gone)} pods deleted"

    def upgrade(self, tag: str) -> str:
        """Upgrade to another image while a file lands."""
        name = self.files.land(f"during-{tag}", 1_000)
        self.release.install(tag)
        self.files.wait(name)
        return self._run_on(tag)

    def roll_back(self, tag: str) -> str:
        """Go back to the image before while a file lands."""
        name = self.files.land(f"back-to-{tag}", 1_000)
        self.release.roll_back()
        self.files.wait(name)
        return self._run_on(tag)

    def _run_on(self, tag: str) -> str:
        """Load a file, and return a sentence on its run pod if its image has the `tag`, as those of the platform."""
        wait_for("the end of the run pods", lambda: not self._busy())
        before = self._runs()
        self.files.wait(self.files.land(f"after-{tag}-{len(self.files.sent)}", 1_000))
        pods = [*self.release.pods(DAEMON), *self.release.pods(CODE_SERVER)]
        pods += [pod for pod in self.release.pods(RUN) if pod["metadata"]["name"] not in before]
        others = {image_of(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]} - {tag}
        if others:
            message = f"daemon, code server or run pods have the image {', '.join(others)} instead of {tag}"
            raise ClusterError(message)
        return f"daemon, code server and run pods on {tag}"

    def _phases(self) -> dict[str, str]:
        return {str(pod["metadata"]["name"]): str(pod["status"]["phase"]) for pod in self.release.pods(RUN)}

    def _runs(self) -> set[str]:
        return {*self._phases()}

    def _busy(self) -> bool:
        return not {*self._phases().values()} <= {"Succeeded", "Failed"}


def main() -> int:
    """Run the steps and return the exit code."""
    parser = argparse.ArgumentParser(prog="make cluster-test")
    parser.add_argument("--context", default="", help="the cluster, as kubectl calls it")
    parser.add_argument("--tag", default="dev-1", help="the image to install (default: %(default)s)")
    parser.add_argument("--next-tag", default="dev-2", help="the image to upgrade to (default: %(default)s)")
    given = parser.parse_args()
    if reason := missing(given.context):
        sys.stdout.write(f"SKIPPED cluster-test: {reason}\n")
        return 0
    release = Release(given.context)
    begun = time.monotonic()
    try:
        _timed("start the local servers", release.prepare)
        _timed(f"install {given.tag}", lambda: release.install(given.tag))
        with release.forwarded() as variables:
            os.environ.update(variables)
            with Deployment.open(project_root() / "data" / "pipeline_config.yaml") as deployment:
                rows = _all(Steps(release, Files(deployment)), given.tag, given.next_tag)
    except (ClusterError, GoogleAPIError, psycopg.Error) as error:
        sys.stdout.write(f"FAILED: {error}\n{release.kubectl('get', 'pods')}")
        return 1
    sys.stdout.write(f"PASSED in {time.monotonic() - begun:.0f} s: {rows:,} rows, each once in each store\n")
    return 0


def _all(steps: Steps, tag: str, next_tag: str) -> int:
    rows = 0
    todo: dict[str, Callable[[], str]] = {
        "land three files": steps.load,
        "land one of them again": steps.replace,
        "kill a run pod": steps.kill_run,
        "delete the daemon's and the code server's pods": steps.delete_platform,
        f"upgrade to {next_tag}": lambda: steps.upgrade(next_tag),
        f"roll back to {tag}": lambda: steps.roll_back(tag),
    }
    for name, step in todo.items():
        _timed(name, step)
        started = time.monotonic()
        rows = steps.files.compare()
        _say("  compare the stores", started, f"{rows:,} rows, each once in each store")
    return rows


def _timed(name: str, step: Callable[[], str | None]) -> None:
    started = time.monotonic()
    _say(name, started, step() or "")


def _say(name: str, started: float, detail: str) -> None:
    sys.stdout.write(f"{name:<48}{time.monotonic() - started:7.1f} s  {detail}".rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
