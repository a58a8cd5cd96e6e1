"""Execute the load of landed files in this process, without a daemon or a run launcher.

`run.py` and the tests use this module. `defs/jobs.py` defines the jobs.
"""

from functools import lru_cache
from typing import Any

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.definitions import build
from txn_assets.defs.jobs import LOAD


def execute(
    config: PipelineConfig,
    instance: dg.DagsterInstance,
    *,
    job: str = LOAD,
    **options: Any,  # noqa: ANN401 - passed on to execute_job
) -> dg.JobExecutionResult:
    """Run `job`, which loads files, in this process with its executor, as a run launcher does in another process.

    `options` are passed to `dagster.execute_job`.
    """
    # The environment may have changed since the last run.
    define_job.cache_clear()
    arguments = {"config": config.model_dump_json(by_alias=True), "job": job}
    reconstructable = dg.build_reconstructable_job("txn_assets.job", "define_job", reconstructable_kwargs=arguments)
    # Silence Dagster's console logger, which would repeat every event. The UI still shows them.
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.execute_job(reconstructable, instance, run_config=quiet, **options)


@lru_cache(maxsize=1)
def define_job(config: str, job: str) -> dg.JobDefinition:
    """Return `job` for `config`, a JSON string; `execute` refers to this function by name.

    Dagster asks for it five times per run, and each definition of all assets and checks takes a tenth of a second.
    """
    return build(PipelineConfig.model_validate_json(config)).resolve_job_def(job)
