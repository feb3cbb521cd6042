#!/usr/bin/env bash
# Builds the embedded data from a folder of open tissue images (README.md: what they are).
#   bash data/sample/build.sh TISSUE
# TISSUE holds manifest.csv with the columns path, dataset, label, group, split (and others).
# HISTO_SIMCLR: how to call the program, if not `python -m histo_simclr`.
set -euo pipefail
tissue=$(cd "${1:?give the folder of tissue images}" && pwd)
read -r -a program <<<"${HISTO_SIMCLR:-python -m histo_simclr}"
cd "$(dirname "$0")"
export PYTHONPATH="../..${PYTHONPATH:+:$PYTHONPATH}"
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
rm -rf records mix

# list DATASET EXPRESSION OUTPUT: the CSV that prepare reads. EXPRESSION, of a manifest row r and
# its number i within dataset and label, gives the row's other columns, or None to leave it out.
list() {
  python - "$tissue" "$@" <<'PY'
import collections, csv, sys

tissue, dataset, expression, output = sys.argv[1:]
number = collections.Counter()
rows = []
with open(f"{tissue}/manifest.csv", newline="") as file:
    for r in sorted(csv.DictReader(file), key=lambda row: row["path"]):
        if r["dataset"] == dataset and r["split"] not in ("mask",):
            i = number[r["path"].split("/")[0], r["label"], r["split"]]
            number[r["path"].split("/")[0], r["label"], r["split"]] += 1
            if (columns := eval(f"({expression})")) is not None:
                rows.append({"path": r["path"], **columns})
with open(output, "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
PY
}

# prepare NAME CUT EXPRESSION FLAGS…: one record set of 96 px patches.
prepare() {
  local name=$1 cut=$2 expression=$3
  shift 3
  list "$name" "$expression" "$lists/$name.csv"
  "${program[@]}" prepare "$tissue" --labels "$lists/$name.csv" --name "$name" --out records \
    --px 96 --cut "$cut" --max-rejected 0 --commercial-use yes "$@"
}

prepare pcam 96 '
  None if not r["path"].startswith("labelled/") or (r["split"] == "train" and i >= 1000)
  else {"label": r["label"][2:], "split": {"train": "train", "valid": "test"}[r["split"]]}' \
  --mpp 0.972 --magnification 10 --stain "H&E" --organ "lymph node" --license CC0-1.0 \
  --url https://github.com/basveeling/pcam \
  --citation "Veeling et al., Rotation Equivariant CNNs for Digital Pathology, MICCAI 2018; \
Ehteshami Bejnordi et al., JAMA 2017 (CAMELYON16)"

# Only Case-4 has all classes, so it is the test; of the others every second image, to save space.
prepare osteosarcoma 256 '
  None if r["group"] != "Case-4" and i % 2
  else {"label": r["label"], "patient": r["group"],
        "split": "test" if r["group"] == "Case-4" else "train"}' \
  --mpp 1.0 --magnification 10 --stain "H&E" --organ bone --license CC-BY-3.0 \
  --quality 80 --url https://doi.org/10.7937/tcia.2019.bvhjhdas \
  --citation "Leavey et al., Osteosarcoma data from UT Southwestern/UT Dallas for Viable and \
Necrotic Tumor Assessment, The Cancer Imaging Archive 2019"

prepare crc_val_he_7k 224 '{}' \
  --mpp 0.5 --magnification 20 --stain "H&E" --organ colon --license CC-BY-4.0 \
  --quality 80 --url https://doi.org/10.5281/zenodo.1214456 \
  --citation "Kather, Halama, Marx, 100,000 histological images of human colorectal cancer and \
healthy tissue, Zenodo 2018"

prepare kather2016 150 '{}' \
  --mpp 0.495 --magnification 20 --stain "H&E" --organ colon --license CC-BY-4.0 \
  --quality 80 --url https://doi.org/10.5281/zenodo.53169 \
  --citation "Kather et al., Multi-class texture analysis in colorectal cancer histology, \
Scientific Reports 2016"

# Neighbouring numbers look like one case, so every third image.
prepare brecahad 340 '{} if i % 3 == 0 else None' \
  --magnification 40 --stain "H&E" --organ breast --license CC-BY-4.0 \
  --quality 80 --url https://doi.org/10.6084/m9.figshare.7379186 \
  --citation "Aksac, Demetrick, Ozyer, Alhajj, BreCaHAD: a dataset for breast cancer \
histopathological annotation and diagnosis, BMC Research Notes 2019"

prepare rings_prostate 170 '{"slide": r["group"]}' \
  --stain "H&E" --organ prostate --license CC-BY-4.0 \
  --quality 80 --url https://data.mendeley.com/datasets/h8bdwrtnr5 \
  --citation "Salvi et al., A hybrid deep learning approach for gland segmentation in prostate \
histopathological images, Artificial Intelligence in Medicine 2021"

prepare glomeruli_pas 340 '{}' \
  --mpp 0.5 --magnification 20 --stain PAS --organ kidney --license CC-BY-4.0 \
  --quality 80 --url https://data.mendeley.com/datasets/k7nvtgn2x6 \
  --citation "Bueno et al., Data for glomeruli characterization in histopathological images, \
Mendeley Data (AIDPATH)"

prepare dsb2018_tissue 256 '{}' \
  --stain "H&E" --license CC0-1.0 \
  --quality 80 --url https://bbbc.broadinstitute.org/BBBC038 \
  --citation "Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data \
Science Bowl, Nature Methods 2019"

openslide="OpenSlide test data: free to use and distribute"
prepare openslide_os1 170 '{"slide": r["group"]}' \
  --mpp 0.227 --stain "H&E" --license "$openslide" \
  --quality 80 --url https://openslide.cs.cmu.edu/download/openslide-testdata/ \
  --citation "OpenSlide test data, OS-1"

prepare openslide_os2_ki67 170 '{"slide": r["group"], "mpp": r["mpp"]}' \
  --stain "IHC Ki-67" --license "$openslide" \
  --quality 80 --url https://openslide.cs.cmu.edu/download/openslide-testdata/ \
  --citation "OpenSlide test data, OS-2"

prepare skimage_ihc 96 '{}' \
  --stain "IHC FHL2" --organ colon --license "no known copyright restrictions" \
  --quality 80 --url https://scikit-image.org/docs/stable/api/skimage.data.html \
  --citation "Center for Microscopy and Molecular Imaging (CMMI), by scikit-image"

"${program[@]}" mix records --recipe ../mixes/embedded.yaml --out mix
du --apparent-size -sh .
