"""The Job of a run, built by Dagster's own launcher from the values, and what is known to go wrong with it.

Only statements about the Job. `test_values.py` tests the values alone.
"""

import copy
import multiprocessing
import os
import subprocess
import sys
import warnings

import dagster as dg
import pytest

from txn_assets.feeds.run_size import DEFAULT_SIZES, OTHER_DISK, RunSize
from txn_assets_tests.deploy.manifests import Manifest, invalid, kubernetes_versions, pod_problems
from txn_assets_tests.deploy.run_jobs import launched_job
from txn_assets_tests.deploy.values_files import Values, code_location, merged

SMALL = {"limits": {"cpu": "500m", "memory": "512Mi"}}
TAG = "dagster-k8s/config"


def container(job: Manifest) -> Manifest:
    """Return the run's only container."""
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def limits(job: Manifest) -> tuple[str, str]:
    """Return the run's CPU and memory limits."""
    found = container(job)["resources"]["limits"]
    return found["cpu"], found["memory"]


def tags_of_runs(of: dg.Definitions) -> dict[str, dict[str, str]]:
    """Return the tags of a run of each job, including the implicit job of the Materialize button."""
    return {job.name: dict(job.run_tags) for job in of.get_repository_def().get_all_jobs()}


def test_run_job_is_valid(run_job: Manifest) -> None:
    """The run Job passes the schemas of Kubernetes 1.29 and of the newest version, unknown fields refused."""
    assert kubernetes_versions()[0] == "1.29"
    assert invalid(run_job) == []


def test_run_pod_is_restricted_and_has_no_duplicates(run_job: Manifest) -> None:
    """The run pod meets the restricted Pod Security standard, and no variable, volume or mount is duplicated."""
    assert pod_problems(run_job) == []


def test_run_of_the_materialize_button_has_the_memory_of_a_run(run_job: Manifest) -> None:
    """A run without job tags gets 1 CPU and 2 GiB instead of the code server's resources."""
    assert limits(run_job) == ("1", "2Gi")


def test_run_has_its_own_service_account(run_job: Manifest) -> None:
    """A run uses the account that may touch data, not the one that may create pods."""
    assert run_job["spec"]["template"]["spec"]["serviceAccountName"] == "txn-assets"


def test_run_has_scratch_space_of_bounded_size(run_job: Manifest) -> None:
    """TXN_HOME of a run is an emptyDir, and the limit of ephemeral storage has room for it."""
    spec = run_job["spec"]["template"]["spec"]
    (scratch,) = [volume for volume in spec["volumes"] if volume["name"] == "scratch"]
    (mount,) = [mount for mount in container(run_job)["volumeMounts"] if mount["name"] == "scratch"]
    assert scratch["emptyDir"] == {}
    assert mount["mountPath"] == code_location(merged("prod"))["env"]["TXN_HOME"]
    assert container(run_job)["resources"]["limits"]["ephemeral-storage"] == "10Gi"


@pytest.mark.parametrize("size", DEFAULT_SIZES, ids=lambda size: size.name)
def test_run_has_the_size_of_its_files(size: RunSize) -> None:
    """A run with the tags of a size class has its resources and its scratch limit, and is valid otherwise."""
    job = launched_job(merged("prod"), size.tags())
    assert invalid(job) == []
    assert pod_problems(job) == []
    assert limits(job) == (size.cpu, size.memory)
    resources = container(job)["resources"]
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"]["ephemeral-storage"]) == size.scratch_bytes + OTHER_DISK
    assert {"name": "TXN_SCRATCH_LIMIT", "value": size.scratch} in container(job)["env"]
    assert len(container(job)["volumeMounts"]) == len(container(launched_job(merged("prod")))["volumeMounts"])


def test_resources_of_the_code_location_would_override_the_run_launcher() -> None:
    """With includeConfigInLaunchedRuns the run would get the code server's memory, so it is off."""
    values = copy.deepcopy(merged("prod"))
    code_location(values)["includeConfigInLaunchedRuns"] = {"enabled": True}
    code_location(values)["resources"] = SMALL
    assert limits(launched_job(values)) == ("500m", "512Mi")


def test_job_tag_reaches_the_run_pod_and_an_op_tag_does_not() -> None:
    """A dagster-k8s/config tag of a job overrides the launcher; the same tag in an asset's op_tags changes nothing."""
    resources = {"container_config": {"resources": {"limits": {"cpu": "2", "memory": "4Gi"}}}}

    @dg.asset(op_tags={TAG: resources})
    def greedy() -> None:
        pass

    plain = dg.define_asset_job("plain", [greedy])
    tagged = dg.define_asset_job("tagged", [greedy], tags={TAG: resources})
    tags = tags_of_runs(dg.Definitions(assets=[greedy], jobs=[plain, tagged]))
    assert limits(launched_job(merged("prod"), tags["plain"])) == ("1", "2Gi")
    assert limits(launched_job(merged("prod"), tags["tagged"])) == ("2", "4Gi")


def test_jobs_of_the_code_location_are_launched_as_valid_pods(values: Values) -> None:
    """With the tags of each of our own jobs the run Job is valid, restricted, and has at least the memory of a run."""
    with warnings.catch_warnings():
        # The code's own tests cover its use of Dagster's beta features.
        warnings.simplefilter("ignore", dg.BetaWarning)
        from txn_assets.definitions import defs

        jobs = tags_of_runs(defs())
    for name, tags in jobs.items():
        job = launched_job(values, tags)
        assert invalid(job) + pod_problems(job) == [], name
        assert limits(job) == ("1", "2Gi"), name


def test_variable_set_in_two_places_would_arrive_twice() -> None:
    """Lists of variables are joined: the Job then holds both values, and our check names them."""
    values = copy.deepcopy(merged("prod"))
    code_location(values)["includeConfigInLaunchedRuns"] = {"enabled": True}
    code_location(values)["env"] = [{"name": "TXN_HOME", "value": "/scratch"}]
    values["runLauncher"]["config"]["k8sRunLauncher"]["envVars"] = ["TXN_HOME=/elsewhere"]
    assert any("variable TXN_HOME is set twice" in problem for problem in pod_problems(launched_job(values)))


def test_typo_in_run_k8s_config_stops_the_launch() -> None:
    """The launcher refuses a field that a pod does not have, at each launch instead of at the upgrade."""
    values = copy.deepcopy(merged("prod"))
    values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]["serviceAcountName"] = "x"
    with pytest.raises(Exception, match=r"serviceAcountName|service_acount_name"):
        launched_job(values)


def test_cpu_count_is_the_limit_of_the_pod(values: Values) -> None:
    """PYTHON_CPU_COUNT makes Python, and with it the multiprocess executor, see one CPU."""
    variables = code_location(values)["env"]
    assert multiprocessing.cpu_count() == os.cpu_count()
    command = [sys.executable, "-c", "import multiprocessing; print(multiprocessing.cpu_count())"]
    shown = subprocess.run(
        command, env={"PYTHON_CPU_COUNT": variables["PYTHON_CPU_COUNT"]}, capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "1"
