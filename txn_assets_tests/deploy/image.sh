#!/bin/sh
# Build the production image, and test it with one run of the sample file in a container as restricted as the run pod.
#   image.sh build    build with podman, buildah or docker, whichever is installed; print the image's name
#   image.sh servers  build the image of the local servers, IMAGE-servers:dev, on top of the image built last
#   image.sh run      start the local stack, then materialize data/transactions.csv in the image against it
# Keep this script out of helm-values/, because that folder is passed to Helm and holds only data.
#
# IMAGE            name without a tag (txn-assets)
# TAG              default: version, commit and, for uncommitted changes, the time. Tags must be unique: the code
#                  servers' identity is a hash of their values, so a new image under an old tag reloads nothing.
# IMAGE_TOOL       podman, buildah or docker
# IMAGE_BUILD_ARGS extra arguments of the build, for example --build-arg PYTHON_IMAGE=...
# PARTITION        the landed file that `run` materializes
set -eu
cd "$(dirname "$0")/../.."

fail() { echo "image: $*" >&2; exit 1; }

default_tag() {
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo nogit)
    changed=$(git status --porcelain -- Dockerfile .dockerignore requirements.lock txn_assets data 2>/dev/null || true)
    echo "$version-$commit${changed:+-$(date -u +%Y%m%d%H%M%S)}"
}

find_tool() {
    if [ -n "${IMAGE_TOOL:-}" ]; then echo "$IMAGE_TOOL"; return; fi
    for tool in podman buildah docker; do
        # A docker client without a daemon cannot build.
        if "$tool" info >/dev/null 2>&1; then echo "$tool"; return; fi
    done
    fail "neither podman nor buildah nor a reachable docker: install podman (apt-get install podman)"
}

# Remember the last tag that was built, so that `run` uses that image even after a later commit.
last_tag() { cat "${TXN_HOME:-.local}/image-tag" 2>/dev/null || default_tag; }

# Build the image $1 with further arguments.
build_with() {
    name=$1 && shift
    # Without --format docker, podman and buildah write an OCI image, which has no HEALTHCHECK.
    case $tool in
        podman) set -- podman build --format docker "$@" ;;
        buildah) set -- buildah build --format docker "$@" ;;
        *) set -- "$tool" build "$@" ;;
    esac
    # shellcheck disable=SC2086  # the arguments are a list
    "$@" ${IMAGE_BUILD_ARGS:-} --tag "$name" .
    echo "image: $name built with $tool"
}

build() {
    tool=$(find_tool)
    tag=${TAG:-$(default_tag)}
    build_with "$IMAGE:$tag" \
        --build-arg "VERSION=$tag" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    mkdir -p "${TXN_HOME:-.local}" && echo "$tag" >"${TXN_HOME:-.local}/image-tag"
}

servers() {
    tool=$(find_tool)
    build_with "$IMAGE-servers:dev" --file Dockerfile.servers --build-arg "PRODUCT_IMAGE=$IMAGE:${TAG:-$(last_tag)}"
}

run() {
    tool=$(find_tool)
    [ "$tool" != buildah ] || fail "buildah builds only: install podman to run the image"
    tag=${TAG:-$(last_tag)}
    home=${TXN_HOME:-$PWD/.local}
    .venv/bin/python -m txn_assets.local up
    # The servers stay outside. The container gets their addresses, in the file that the code reads, and the host's
    # network, because they listen only on its loopback. The folders replace the pod's volumes; they are open to the
    # container's user, and their parent folder to nobody else.
    volumes=$home/image-run scratch=$home/image-run/scratch
    rm -rf "$volumes" && mkdir -p "$scratch" "$volumes/dagster-home" && chmod 0777 "$scratch" "$volumes/dagster-home"
    cp "$home/stack.json" "$scratch/stack.json" && chmod 0644 "$scratch/stack.json"
    # Like the run pod: its limits, its file systems, no capabilities and no way to gain any.
    status=0
    # --ulimit: podman's own limits may be above those of a small machine, which then refuses to start the container.
    # --no-healthcheck: podman needs a systemd timer for it, and a build machine may not have systemd.
    "$tool" run --rm --no-healthcheck --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --network host --cpus 1 --memory 2g --memory-swap 2g \
        --read-only --tmpfs /tmp:rw,size=1g,mode=1777 --cap-drop ALL --security-opt no-new-privileges \
        --volume "$scratch:/scratch" --volume "$volumes/dagster-home:/opt/dagster/dagster_home" \
        --env TXN_TARGET=local --env "PARTITION=${PARTITION:-transactions.csv}" \
        "$IMAGE:$tag" sh -c '
            echo "uid $(id -u), writable root: $(touch /probe 2>/dev/null && echo yes || echo no)," \
                "$(grep CapEff /proc/self/status | tr -s "[:space:]" " ")"
            dagster asset materialize -m txn_assets.definitions --select "*" --partition "$PARTITION"
            status=$?
            echo "peak memory: $(cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes \
                2>/dev/null | head -1) bytes, page cache included"
            exit $status' || status=$?
    rm -rf "$volumes"
    [ "$status" = 0 ] || fail "the run in $IMAGE:$tag ended with $status"
    echo "image: $IMAGE:$tag materialized ${PARTITION:-transactions.csv} with 1 CPU and 2 GiB, read-only, no capabilities"
}

IMAGE=${IMAGE:-txn-assets}
case ${1:-} in
    build) build ;;
    servers) servers ;;
    run) run ;;
    *) sed -n '2,5p' "$0" | cut -c3-; exit 2 ;;
esac
