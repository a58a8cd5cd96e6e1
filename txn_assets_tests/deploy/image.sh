#!/bin/sh
# Builds the production image, and proves it: one run of the sample file in a container as tight as the run pod.
#   image.sh build    build with podman, buildah or docker, whichever is there; prints the image's name
#   image.sh run      start the local stack, then materialise data/transactions.csv in the image
# It lives with the deployment tests, not in helm-values/: that folder is what is handed to Helm and holds data only.
#
# IMAGE            name without a tag (txn-assets)
# TAG              default: version, commit and, for uncommitted changes, the time. Tags must be unique: the code
#                  servers' identity is a hash of their values, so a new image under an old tag reloads nothing.
# IMAGE_TOOL       podman, buildah or docker
# IMAGE_BUILD_ARGS more arguments of the build, for example --build-arg PYTHON_IMAGE=...
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
        # A docker client without a daemon is no builder.
        if "$tool" info >/dev/null 2>&1; then echo "$tool"; return; fi
    done
    fail "neither podman nor buildah nor a reachable docker: install podman (apt-get install podman)"
}

# The last tag that was built, so that `run` takes that image and not the one that a later commit would name.
last_tag() { cat "${TXN_HOME:-.local}/image-tag" 2>/dev/null || default_tag; }

build() {
    tool=$(find_tool)
    tag=${TAG:-$(default_tag)}
    # Without --format docker podman and buildah write an OCI image, which has no HEALTHCHECK.
    case $tool in
        podman) set -- podman build --format docker ;;
        buildah) set -- buildah build --format docker ;;
        *) set -- "$tool" build ;;
    esac
    # shellcheck disable=SC2086  # the arguments are a list
    "$@" ${IMAGE_BUILD_ARGS:-} --tag "$IMAGE:$tag" \
        --build-arg "VERSION=$tag" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" .
    mkdir -p "${TXN_HOME:-.local}" && echo "$tag" >"${TXN_HOME:-.local}/image-tag"
    echo "image: $IMAGE:$tag built with $tool"
}

IMAGE=${IMAGE:-txn-assets}
case ${1:-} in
    build) build ;;
    *) sed -n '2,4p' "$0" | cut -c3-; exit 2 ;;
esac
