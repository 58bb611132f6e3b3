#!/usr/bin/env bash
# Builds an image of each service and of the command line; `make images` runs it.
#
#   IMAGE_PREFIX (wavecom)  IMAGE_TAG (dev)  what the images are called: <prefix>/<service>:<tag>
#   BASE_IMAGE  RUNTIME_IMAGE                what they are built on and run on; see the Dockerfile
#   BUILD_NETWORK                            the network of the build, such as `host`
#   SSL_CERT_FILE                            a certificate bundle for the package index, where the network needs one
#   IMAGES                                   which to build; all when left out
#   DOCKER (docker)                          the client; it needs BuildKit, so buildx from version 23 on
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=${IMAGE_PREFIX:-wavecom}
tag=${IMAGE_TAG:-dev}
read -ra members <<<"${IMAGES:-$(cd services && echo *) wavecom-cli}"

"${DOCKER:=docker}" version --format '{{.Server.Version}}' >/dev/null 2>&1 || {
    echo "There is no Docker engine. Start one (docs/runbooks/images.md says how without a registry), or set DOCKER_HOST." >&2
    exit 1
}

options=(
    --file deploy/docker/Dockerfile
    --build-arg "REVISION=$(git rev-parse HEAD)"
    --build-arg "CREATED=$(git show --no-patch --format=%cI HEAD)"
)
[ -z "${BASE_IMAGE:-}" ] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ -z "${RUNTIME_IMAGE:-}" ] || options+=(--build-arg "RUNTIME_IMAGE=$RUNTIME_IMAGE")
[ -z "${BUILD_NETWORK:-}" ] || options+=(--network "$BUILD_NETWORK")
[ -z "${SSL_CERT_FILE:-}" ] || options+=(--secret "id=certificates,src=$SSL_CERT_FILE")

for member in "${members[@]}"; do
    target=service
    [ -d "services/$member" ] || target=command
    echo "Building $prefix/$member:$tag ..."
    DOCKER_BUILDKIT=1 "$DOCKER" build --quiet --target "$target" --build-arg "MEMBER=$member" --tag "$prefix/$member:$tag" \
        "${options[@]}" .
done
"$DOCKER" image ls --filter "reference=$prefix/*:$tag" --format 'table {{.Repository}}:{{.Tag}}\t{{.Size}}'
