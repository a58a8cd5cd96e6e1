# One image for the code servers, the run pods, the webserver and the daemon: every process of the platform runs the
# same locked set of packages, so that no part can resolve a SQLAlchemy on which dagster-postgres fails.
#
#   make image        build it with podman, buildah or docker, under a tag of its own
#
# What does not belong here: configuration (a ConfigMap), secrets (Secrets), embedded servers and build tools.
ARG PYTHON_IMAGE=python:3.13-slim

# ---------------------------------------------------------------------------------------------------- build
FROM ${PYTHON_IMAGE} AS build

ARG UV_VERSION=0.13.9
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore "uv==${UV_VERSION}"

# Copies, since a hard link cannot leave this stage; byte code at build time, since the root file system of a pod is
# read-only and every run would otherwise compile all packages again.
ENV UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never

# The lock file alone, so that this layer, the large one, changes only with the lock.
# --no-build: a package without a wheel would run its own build code, unhashed; it is refused by name instead.
COPY requirements.lock /build/requirements.lock
RUN uv venv --python /usr/local/bin/python /opt/venv \
    && uv pip sync --python /opt/venv/bin/python --require-hashes --no-build --no-cache /build/requirements.lock

# The package is copied, not built: a wheel would need the build backend, and the paths that the package resolves
# against its own project (data/pipeline_config.yaml) hold here as they do in a checkout.
COPY txn_assets /app/txn_assets
COPY data/pipeline_config.yaml /app/data/pipeline_config.yaml
RUN /opt/venv/bin/python -m compileall -q /app/txn_assets

# ---------------------------------------------------------------------------------------------------- run
FROM ${PYTHON_IMAGE}

# A fixed number: `runAsNonRoot` can check a number, not a name. pip goes, nothing installs packages in a pod.
RUN groupadd --gid 10001 txn \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin txn \
    && python -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && install --directory --owner=10001 --group=10001 /scratch /opt/dagster/dagster_home

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app

# HOME and the caches of libraries go to /tmp, a volume in a pod. TXN_HOME is the scratch space of a run.
# PYTHON_CPU_COUNT: Python would count the CPUs of the node, and everything that sizes a pool by them would start one
# worker a core under a limit of one CPU. PYTHONWARNINGS: the tests make errors of warnings; in a pod each is a line in
# the log that is not JSON, and Dagster has one for every run.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONWARNINGS=ignore \
    PYTHON_CPU_COUNT=1 \
    OMP_NUM_THREADS=1 \
    HOME=/tmp \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    TXN_TARGET=gcp \
    TXN_HOME=/scratch \
    TXN_LOG_FORMAT=json

# Last, since they change with every build and would invalidate the layers below them.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="txn-assets" \
      org.opencontainers.image.description="Transaction CSV files as Dagster assets: code servers and run pods" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

WORKDIR /app
USER 10001:10001
EXPOSE 3030

# Kubernetes ignores it and has probes of its own; podman and docker use it. The check starts an interpreter and costs
# about two seconds of CPU, hence once a minute.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["dagster", "api", "grpc-health-check", "-p", "3030"]

CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "3030", "-m", "txn_assets.definitions"]
