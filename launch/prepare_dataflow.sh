#!/usr/bin/env bash
# `histo-simclr prepare --slides` on Google Cloud Dataflow, through Apache Beam:
#
#   PROJECT=… REGION=us-central1 BUCKET=gs://mine \
#     bash launch/prepare_dataflow.sh gs://mine/slides --name COHORT --out DIR --mpp 0.5 …
#
# The workers' image is built once for each version of this code (Cloud Build), then the work is
# submitted; the command waits and writes the record set to DIR, on this machine. Started again after
# any failure it goes on. README.md in this folder has costs and details.
#
#   PROJECT, REGION, BUCKET   where the work runs; parts and temporary files go below the bucket
#   REPOSITORY                Artifact Registry repository, made when missing (default: histo-simclr)
#   PYTHON                    a Python 3.11 (default: python3.11), which the image has too
#   IMAGE                     a ready image, instead of building one
#   MACHINE                   type of the workers (default: n2-standard-2)
#   MAX_WORKERS               (default: 50)
#   DISK                      GB a worker: must hold a slide for each of its cores (default: 100)
#   DRY_RUN                   1: print the commands, run nothing
set -euo pipefail

launch=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$launch")

# shellcheck source=launch/steps.sh
. "$launch/steps.sh"

needs PROJECT REGION BUCKET
numbers MAX_WORKERS DISK
(($# > 0)) || fail "nothing to prepare; give what histo-simclr prepare takes"
store=${BUCKET%/}
[[ $store == gs://?* ]] || fail "BUCKET=$store: not of the form gs://NAME"

# Is there already: exists NOUN… describe ARGS…? A dry run asks nobody.
exists() { [[ ${DRY_RUN:-} != 1 ]] && gcloud artifacts "$@" >/dev/null 2>&1; }

image=${IMAGE:-}
if [[ -z $image ]]; then
  [[ ${DRY_RUN:-} == 1 ]] || command -v gcloud >/dev/null ||
    fail "no gcloud here: install the Google Cloud CLI, or set IMAGE"
  # So that the image's name says what is in it, and the workers have our code.
  version=$(committed "commit them, or set IMAGE") || exit
  repository=${REPOSITORY:-histo-simclr}
  image=$REGION-docker.pkg.dev/$PROJECT/$repository/prepare:$version
  if ! exists docker images describe "$image" --project "$PROJECT"; then
    exists repositories describe "$repository" --project "$PROJECT" --location "$REGION" ||
      run gcloud artifacts repositories create "$repository" --project "$PROJECT" \
        --location "$REGION" --repository-format docker
    pack "$version" dataflow-image
    run gcloud builds submit "$archive" --project "$PROJECT" --region "$REGION" \
      --config "$launch/cloudbuild.yaml" \
      --substitutions "_DOCKERFILE=dataflow.dockerfile,_IMAGE=$image"
  fi
fi

options=(
  "--project=$PROJECT" "--region=$REGION"
  "--temp_location=$store/temp" "--staging_location=$store/staging"
  "--sdk_container_image=$image" "--sdk_location=container"
  "--worker_machine_type=${MACHINE:-n2-standard-2}" "--max_num_workers=${MAX_WORKERS:-50}"
  "--disk_size_gb=${DISK:-100}"
)
# The Python of the workers' image: Beam refuses to send work from another version.
run env HISTO_SIMCLR_EXTRA=dataflow "PYTHON=${PYTHON:-python3.11}" bash "$launch/local.sh" \
  -m histo_simclr prepare "$@" --slides --runner DataflowRunner --parts "$store/parts" \
  "--beam-options=${options[*]}"
