#!/usr/bin/env bash
# Build the training image, push it to ECR and print the digest that goes into the profile. Run it as often as you
# like: an image that is in the registry already is neither built nor pushed again.
#
#   docker/build_push_image.sh [OPTIONS] [-- ARGUMENTS OF THE ENGINE'S BUILD]
#
#   --repository NAME      ECR repository, created if missing (default: heirloom)
#   --target TARGET        sagemaker (root, for SageMaker: the default) or user (for one's own machines)
#   --build-arg KEY=VALUE  a build argument of docker/Dockerfile (docs/image.md lists them); may be repeated
#   --engine NAME          docker, podman or buildah (default: the first of them that is here)
#   --no-push              only build, as localhost/NAME:TAG; needs no AWS
#   --dry-run              say what would be done; builds nothing, creates nothing, pushes nothing
#
# The tag is lock-<hash of envs/training.txt>-commit-<commit>, with the target and a hash of the build arguments where
# they are not the defaults. Region and credentials are AWS's usual ones (AWS_PROFILE, AWS_REGION, …).
# The last line of the output, and the only one on stdout, is the image's name.
if [ -z "${BASH_VERSION:-}" ]; then # `sh build_push_image.sh`: on Debian and Ubuntu sh is another shell
    command -v bash >/dev/null || {
        echo "build_push_image.sh: it needs bash, which is not installed: install it" >&2
        exit 1
    }
    exec bash "$0" "$@"
fi
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "build_push_image.sh: $*"
    exit 1
}
usage() { sed -nE '2,/^set /s/^# ?//p' "$0" >&2; }

repository=heirloom target=sagemaker engine="" push=yes dry_run=no
build_arguments=() engine_arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --repository | --target | --build-arg | --engine)
        [ $# -ge 2 ] || fail "$1: expected a value after it"
        case $1 in
        --repository) repository=$2 ;;
        --target) target=$2 ;;
        --build-arg)
            [[ $2 == *=* ]] || fail "--build-arg $2: expected KEY=VALUE"
            build_arguments+=("$2")
            ;;
        --engine) engine=$2 ;;
        esac
        shift 2
        ;;
    --no-push) push=no && shift ;;
    --dry-run) dry_run=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    --)
        shift
        engine_arguments=("$@")
        break
        ;;
    *)
        usage
        fail "$1: no such option"
        ;;
    esac
done
case $target in sagemaker | user) ;; *) fail "--target $target: expected sagemaker or user" ;; esac

# ---- what is here ----

for candidate in docker podman buildah; do
    if [ -z "$engine" ] && command -v "$candidate" >/dev/null; then
        engine=$candidate
    fi
done
[ -n "$engine" ] || fail "found none of docker, podman and buildah: install one of them"
case $engine in docker | podman | buildah) ;; *) fail "--engine $engine: expected docker, podman or buildah" ;; esac
command -v "$engine" >/dev/null || fail "--engine $engine: it is not installed"
commit=$(git rev-parse HEAD 2>/dev/null) || fail "the tag names a commit: run this in a git clone with one"

# docker knows no other format, and only this one keeps the Dockerfile's SHELL.
format=()
[ "$engine" = docker ] || format=(--format docker)

# Run a command, or only say so.
act() {
    if [ "$dry_run" = yes ]; then
        say "would run: $(printf '%q ' "$@")"
    else
        "$@" >&2
    fi
}

python=python3
for candidate in "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" .venv/bin/python; do
    if [ "$python" = python3 ] && [ -x "$candidate" ]; then
        python=$candidate
    fi
done
ecr() { "$python" docker/ecr.py "$@"; }

# ---- the tag ----

lock=$(sha256sum envs/training.txt | cut -c1-12)
tag=lock-$lock-commit-${commit:0:12}
[ "$target" = sagemaker ] || tag+=-$target
if [ ${#build_arguments[@]} -gt 0 ]; then
    tag+=-args-$(printf '%s\n' "${build_arguments[@]}" | sort | sha256sum | cut -c1-8)
fi
if [ -n "$(git status --porcelain)" ]; then
    [ "$push" = no ] || fail "the tag names commit ${commit:0:12}, from which files differ: commit them, or use --no-push"
    tag+=-dirty
fi

# ---- the registry ----

name=localhost/$repository:$tag
if [ "$push" = yes ]; then
    registry=$(ecr registry)
    name=$registry/$repository:$tag
    digest=$(ecr digest "$repository" "$tag")
    if [ -n "$digest" ]; then
        say "already pushed: $name"
        echo "$registry/$repository@$digest"
        exit 0
    fi
fi

# ---- build ----

# Whoever publishes a tag can move it: what is built from one is said.
for base in BASE_IMAGE BUILD_IMAGE; do
    image=$(sed -nE "s/^ARG $base=(.+)/\1/p" docker/Dockerfile)
    for argument in ${build_arguments[@]+"${build_arguments[@]}"}; do
        [ "${argument%%=*}" != "$base" ] || image=${argument#*=}
    done
    [[ "$image" =~ @sha256:[0-9a-f]{64}$ ]] ||
        say "$base goes by tag ($image), which can move: give it by digest, --build-arg $base=NAME@sha256:…"
done
flags=()
for argument in ${build_arguments[@]+"${build_arguments[@]}"}; do flags+=(--build-arg "$argument"); done
[ "$engine" != docker ] || export DOCKER_BUILDKIT=1 # the cache mounts need it
act "$engine" build ${format[@]+"${format[@]}"} --file docker/Dockerfile --target "$target" --tag "$name" \
    --label "org.opencontainers.image.revision=$commit" --label "io.heirloom.lock=$lock" \
    ${flags[@]+"${flags[@]}"} ${engine_arguments[@]+"${engine_arguments[@]}"} .
if [ "$push" = no ]; then
    echo "$name"
    exit 0
fi

# ---- push ----

if [ "$dry_run" = yes ]; then
    say "would create the repository $repository in $registry if it is missing, and log in"
    act "$engine" push "$name"
    exit 0
fi
ecr create "$repository"
ecr password | "$engine" login --username AWS --password-stdin "$registry" >&2
"$engine" push "$name" >&2
digest=$(ecr digest "$repository" "$tag")
[ -n "$digest" ] || fail "$name was pushed, and ECR does not list it: look at the output of $engine above"
echo "$registry/$repository@$digest"
