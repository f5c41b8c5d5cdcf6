#!/usr/bin/env bash
# Builds the image and runs it in Azure, from nothing or again: deploy_azure.sh --help
set -euo pipefail

usage() {
  cat <<'HELP'
deploy_azure.sh [--only STEP] [TAG]

Builds the image, pushes it to a registry in Azure and runs it there. Each step may be run again: what is there already
is left as it is. Terraform applies without asking; `terraform plan` shows beforehand what it would do.

  login      see that you are signed in to Azure
  registry   make the resource group, the registry, and the identity that pulls from it
  build      build the image, with the model inside
  push       push it to the registry
  service    run it, as deploy/terraform/azure/terraform.tfvars says
  wait       wait until it is ready

TAG names the image, and so what runs. Without it: IMAGE_TAG, or the commit that is checked out.

  IMAGE_NAME      the image's name (rerank)
  IMAGE_TORCH     cpu or cuda (cpu: neither service here has a GPU)
  TF_DIR          where the Terraform files are (deploy/terraform/azure)
  WAIT_SECONDS    how long to wait for the model to load (900)
  TF_VAR_api_keys the keys that clients use, unless terraform.tfvars has them
  MODEL_NAME, MODEL_REVISION, MODEL_SOURCE, MODEL_DIR, MODEL_DTYPE, FIND_LINKS, HF_ENDPOINT
                  the Dockerfile's build arguments, where they are set; BUILD_NETWORK is the build's network
HELP
}

say() { printf '%s\n' "== $*"; }

fail() {
  printf 'deploy_azure.sh: %s\n' "$@" >&2
  exit 1
}

# ---------------------------------------------------------------------------- what is asked for

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
steps="login registry build push service wait"
tag=${IMAGE_TAG:-}

misused() {
  printf 'deploy_azure.sh: %s\n' "$1" "--help tells how it is used" >&2
  exit 2
}

given=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      usage
      exit
      ;;
    --only)
      case ${2:-} in
        login | registry | build | push | service | wait) steps=$2 ;;
        *) misused "--only wants one of: login registry build push service wait" ;;
      esac
      shift 2
      ;;
    -*) misused "there is no option $1" ;;
    *)
      [ -z "$given" ] || misused "one tag is enough: $given, $1"
      given=$1 tag=$1
      shift
      ;;
  esac
done

name=${IMAGE_NAME:-rerank}
torch=${IMAGE_TORCH:-cpu}
terraform_dir=${TF_DIR:-$root/deploy/terraform/azure}

case $torch in
  cpu | cuda) ;;
  *) misused "IMAGE_TORCH is $torch: use cpu or cuda" ;;
esac
case $tag in
  latest) misused "the tag latest does not say what runs: name one build" ;;
esac
[ -d "$terraform_dir" ] || misused "TF_DIR is $terraform_dir: there is no such folder"

does() { case " $steps " in *" $1 "*) ;; *) return 1 ;; esac }

# ---------------------------------------------------------------------------- what it needs

needs() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null && continue
    case $tool in
      az) fail "az is not installed" "https://learn.microsoft.com/cli/azure/install-azure-cli tells how" ;;
      docker) fail "docker is not installed" "https://docs.docker.com/engine/install tells how" ;;
      terraform) fail "terraform is not installed" "https://developer.hashicorp.com/terraform/install tells how" ;;
      *) fail "$tool is not installed" ;;
    esac
  done
}

# Everything that can be missing is asked for first: not after a build of many minutes.
for step in $steps; do
  case $step in
    login) needs az ;;
    registry | service) needs az terraform ;;
    build) needs docker ;;
    push) needs az docker terraform ;;
    wait) needs az curl terraform ;;
  esac
done

if does build || does push; then
  docker info >/dev/null 2>&1 || fail "no Docker engine answers" "start it, or name another one with DOCKER_HOST"
fi

if [ "$steps" != build ]; then
  subscription=$(az account show --query id --output tsv 2>/dev/null) ||
    fail "you are not signed in to Azure" "az login signs you in, az account set --subscription NAME chooses where"
  export ARM_SUBSCRIPTION_ID=${ARM_SUBSCRIPTION_ID:-$subscription}
fi

if [ -z "$tag" ] && [ "$steps" != login ] && [ "$steps" != wait ]; then
  tag=$(git -C "$root" rev-parse --short HEAD 2>/dev/null) ||
    fail "there is no commit to name the image after" "give it a name: deploy_azure.sh TAG"
  if does build && [ -n "$(git -C "$root" status --porcelain -- \
    .dockerignore Dockerfile LICENSE packages pyproject.toml uv.lock)" ]; then
    fail "the image would not be what commit $tag says: files of it have changes" \
      "commit them, or give the image another name: deploy_azure.sh TAG"
  fi
fi

# ---------------------------------------------------------------------------- the steps

tf() { terraform -chdir="$terraform_dir" "$@"; }

initialised=
initialise() {
  [ -n "$initialised" ] || tf init -input=false >/dev/null || fail "terraform init failed in $terraform_dir"
  initialised=yes
}

apply() {
  initialise
  tf apply -input=false -auto-approve -var "image_name=$name" -var "image_tag=$tag" "$@"
}

output() {
  local value
  value=$(tf output -no-color -raw "$1") || value=
  # Where there is no output at all, terraform prints a warning in its place, and ends well.
  case $value in
    '' | *[[:space:]]*) fail "Terraform knows no $1 yet" "$2" ;;
  esac
  printf '%s' "$value"
}

run_login() {
  say "signed in, subscription $ARM_SUBSCRIPTION_ID"
}

run_registry() {
  say "registry"
  # The service cannot start before its image is there: only what it needs first.
  apply -target=azurerm_container_registry.this -target=azurerm_role_assignment.pull
}

run_build() {
  say "image $name:$tag"
  local arguments=(--build-arg "TORCH=$torch") argument
  for argument in MODEL_NAME MODEL_REVISION MODEL_SOURCE MODEL_DIR MODEL_DTYPE FIND_LINKS HF_ENDPOINT; do
    [ -z "${!argument:-}" ] || arguments+=(--build-arg "$argument=${!argument}")
  done
  [ -z "${BUILD_NETWORK:-}" ] || arguments+=(--network "$BUILD_NETWORK")
  # What Azure runs, whatever this machine is.
  DOCKER_BUILDKIT=1 docker build --platform linux/amd64 --tag "$name:$tag" "${arguments[@]}" "$root"
}

no_registry="make it first: deploy_azure.sh --only registry"

run_push() {
  local registry registry_name
  initialise
  registry=$(output registry "$no_registry")
  registry_name=$(output registry_name "$no_registry")
  docker image inspect "$name:$tag" >/dev/null 2>&1 ||
    fail "there is no image $name:$tag here" "build it first: deploy_azure.sh --only build $tag"
  say "push to $registry"
  az acr login --name "$registry_name" --subscription "$ARM_SUBSCRIPTION_ID"
  docker tag "$name:$tag" "$registry/$name:$tag"
  docker push "$registry/$name:$tag"
}

run_service() {
  local registry_name
  initialise
  registry_name=$(output registry_name "$no_registry")
  # Azure would try for many minutes.
  az acr repository show --name "$registry_name" --subscription "$ARM_SUBSCRIPTION_ID" --image "$name:$tag" >/dev/null ||
    fail "$name:$tag is not in the registry" "push it first: deploy_azure.sh --only push $tag"
  say "service"
  apply
}

# A container app goes on answering with what ran before: its address alone does not say which one is ready.
is_current() {
  [ "$service" = container-app ] || return 0
  local current
  current=$(az containerapp show --name "$app" --resource-group "$group" --subscription "$ARM_SUBSCRIPTION_ID" \
    --query "properties.latestRevisionName == properties.latestReadyRevisionName" --output tsv) || return 1
  [ "$current" = true ]
}

run_wait() {
  local url service app group limit=$((SECONDS + ${WAIT_SECONDS:-900})) first="start it first: deploy_azure.sh --only service"
  initialise
  url=$(output url "$first")
  service=$(output service "$first")
  app=$(output name "$first")
  group=$(output resource_group "$first")
  say "wait until $url is ready"
  until is_current && curl --fail --silent --max-time 10 --output /dev/null "$url/readyz"; do
    [ "$SECONDS" -lt "$limit" ] || fail "$url was not ready in ${WAIT_SECONDS:-900} s" "its log says why: $(log_command)"
    sleep 5
  done
  say "ready: $url"
}

log_command() {
  case $service in
    container-app) echo "az containerapp logs show --name $app --resource-group $group --tail 100" ;;
    *) echo "az container logs --name $app --resource-group $group" ;;
  esac
}

for step in $steps; do
  "run_$step"
done
