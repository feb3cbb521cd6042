"""Stand-ins of the downloads of evaluation tasks: tiny made-up images, real folders and names.

One function a file of configs/tasks, of the folder raw/ to fill; those of TFDS sets return where
each file that TFDS would download lies.
"""

import numpy as np
from PIL import Image

POWERS = (40, 100, 200, 400)  # of BreakHis


def picture(path, width, height, seed=None):
    """A picture of no two alike, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path))) if seed is None else seed
    coarse = np.random.default_rng(seed).integers(60, 250, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(path)


def drawn(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def half(width, height, value, dtype=np.uint8):
    """0 at the left, `value` at the right."""
    values = np.zeros((height, width), dtype)
    values[:, width // 2 :] = value
    return values


def bach(raw):
    for label, letter in (("Benign", "b"), ("InSitu", "is"), ("Invasive", "iv"), ("Normal", "n")):
        for number in range(1, 6):
            name = f"BACH/ICIAR2018_BACH_Challenge/Photos/{label}/{letter}{number:03d}.tif"
            picture(raw / name, 64, 48)


ANNOTATION = """<?xml version="1.0" encoding="UTF-8"?>
<Annotations MicronsPerPixel="0.467"><Annotation Id="1" Name=""><Regions>{}</Regions></Annotation>
</Annotations>"""
REGION = """<Region Id="{}" Text="{}" NegativeROA="0"><Attributes>{}</Attributes><Vertices>
<Vertex X="{left}" Y="0" Z="0"/><Vertex X="{right}" Y="0" Z="0"/>
<Vertex X="{right}" Y="1024" Z="0"/><Vertex X="{left}" Y="1024" Z="0"/></Vertices></Region>"""


def bach_segmentation(raw, write_tiff):
    folder = raw / "BACH/ICIAR2018_BACH_Challenge/WSI"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        pixels = np.random.default_rng(number).integers(60, 250, (64, 128, 3), np.uint8)
        pixels = pixels.repeat(16, 0).repeat(16, 1)  # two squares, of which one is annotated
        write_tiff(folder / f"A{number:02d}.svs", [pixels], mpp=0.467, tile=(512, 512))
        said = ['<Attribute Id="1" Name="" Value="Benign"/>', ""]
        text = ["", "Carcinoma in situ"]
        regions = [
            REGION.format(i, text[i], said[i], left=256 * i, right=256 + 256 * i) for i in (0, 1)
        ]
        regions.append(REGION.format(3, "Invasive carcinoma", "", left=512, right=768))
        (folder / f"A{number:02d}.xml").write_text(ANNOTATION.format("".join(regions)))
    # Slides without annotation lie beside them.
    write_tiff(folder / "11.svs", [pixels], mpp=0.467, tile=(512, 512))


def breakhis(raw):
    kinds = {"benign": ("B", "adenosis", "A"), "malignant": ("M", "ductal_carcinoma", "DC")}
    for label, (letter, kind, short) in kinds.items():
        for patient in ("22549AB", "22549CD", "29960AB", "4372", "9146"):
            stem = f"SOB_{letter}_{short}"
            for power in POWERS:
                for number in (1, 2):
                    name = f"{stem}-14-{patient}{letter}-{power}-{number:03d}.png"
                    folder = (
                        f"histology_slides/breast/{label}/SOB/{kind}/{stem}_14-{patient}{letter}"
                    )
                    picture(raw / f"BreaKHis_v1/{folder}/{power}X/{name}", 70, 46)


def breastpathq(raw):
    folder = raw / "breastpathq/breastpathq/datasets"
    folder.mkdir(parents=True)
    tables = {"train": ["slide,rid,y"], "validation": ["slide,rid,p1,p2"]}
    for part, lines in tables.items():
        for slide in (1, 2) if part == "train" else (3, 4):
            for region in range(1, 4):
                picture(folder / part / f"9{slide}_{region}.tif", 64, 64)
                scores = [f"{region / 4:g}"] if part == "train" else ["0.2", f"{region / 5:g}"]
                lines.append(",".join([f"9{slide}", f"{region}", *scores]))
    (folder / "train_labels.csv").write_text("\n".join(tables["train"]))
    later = raw / "breastpathq/breastpathq-test"
    later.mkdir()
    (later / "val_labels.csv").write_text("\n".join(tables["validation"]))


def camelyon16(raw, write_tiff, cmu):
    from histo_simclr.slides import reader

    (raw / "CAMELYON16/images").mkdir(parents=True)
    names = [f"{kind}_{number:03d}" for kind in ("normal", "tumor") for number in range(1, 6)]
    with reader.open_slide(cmu) as slide:
        for number, name in enumerate([*names, "test_001"]):
            tissue = slide.read(600 + 40 * number, 1000, mpp=0.5, px=512)
            write_tiff(raw / f"CAMELYON16/images/{name}.tif", [tissue], tile=(256, 256))


def digestpath(raw):
    folder = raw / "digestpath/tissue-train-pos-v1"
    for slide in range(5):
        for number in range(2):
            stem = f"2018_6498{slide}_1-1_2019-02-25 21_57_36-lv1-{number}20594-11520-64-48"
            picture(folder / f"{stem}.jpg", 64, 64)
            drawn(folder / f"{stem}_mask.jpg", half(72, 64, 255)[:, 4:68])


def glas(raw):
    for part, count in (("train", 4), ("testA", 2), ("testB", 1)):
        for number in range(1, count + 1):
            picture(raw / f"Warwick_QU/{part}_{number}.bmp", 530, 260)
            drawn(raw / f"Warwick_QU/{part}_{number}_anno.bmp", half(530, 260, number))
    (raw / "Warwick_QU/Grade.csv").write_text("name,patient ID, grade (GlaS)\ntestA_1,4,benign\n")


def gleason2019(raw):
    for core in range(6):
        stem = f"slide001_core00{core}"
        picture(raw / f"gleason2019/Train Imgs/Train Imgs/{stem}.jpg", 5 * 448, 460)
        for pathologist in (1, 3, 5):
            values = np.repeat([0, 1 if pathologist == 1 else 6, 3, 4, 5], 448).astype(np.uint8)
            values[2 * 448 : 2 * 448 + 300] = 3 if pathologist == 1 else 5  # outvoted below
            drawn(
                raw / f"gleason2019/Maps{pathologist}_T/{stem}_classimg_nonconvex.png",
                np.tile(values, (460, 1)),
            )


def glomeruli(raw):
    for number in range(8):
        picture(raw / f"glomeruli_pas/images/{10003 + number}.png", 64, 64)
        mask = np.zeros((64, 64, 3), np.uint8)
        mask[20:50, 20:50, 0] = 255
        drawn(raw / f"glomeruli_pas/masks/{10003 + number}.png", mask)


def kather2016(raw):
    names = ("TUMOR", "STROMA", "COMPLEX", "LYMPHO", "DEBRIS", "MUCOSA", "ADIPOSE", "EMPTY")
    for index, label in enumerate(names, 1):
        for slide in range(1, 11):
            odd = "_009.tif" if slide % 2 else "c.tif"  # both kinds of names are there
            name = f"1{index}{slide:03d}_CRC-Prim-HE-{slide:02d}{odd}_Row_301_Col_151.tif"
            folder = "Kather_texture_2016_image_tiles_5000"
            picture(raw / f"{folder}/{index:02d}_{label}/{name}", 150, 150)
    return {"Kather_texture_2016_image_tiles_5000.zip": raw}


def lymph(raw):
    for label in ("CLL", "FL", "MCL"):
        for case in range(5):
            for number in (1, 2):
                picture(
                    raw / f"Lymph/{label}/sj-03-28{ord(label[0])}{case}_{number:03d}.tif", 64, 48
                )


def nct_crc(raw):
    classes = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
    for label in classes:
        for letters in ("AAAICEHS", "AAACVTLK"):
            picture(raw / f"NCT-CRC-HE-100K/{label}/{label}-{letters}.tif", 224, 224)
        picture(raw / f"CRC-VAL-HE-7K/{label}/{label}-TCGA-ALPPQLSF.tif", 224, 224)


def nuclei(raw):
    for number in range(9):
        folder = raw / f"DSB2018/stage1_train/{number:064x}"
        picture(folder / f"images/{number:064x}.png", 320, 256)
        if number == 8:  # fluorescence: gray
            Image.open(folder / f"images/{number:064x}.png").convert("L").convert("RGBA").save(
                folder / f"images/{number:064x}.png"
            )
        for nucleus in range(2):
            values = np.zeros((256, 320), np.uint8)
            values[20:60, 20 + 100 * nucleus : 60 + 100 * nucleus] = 255
            drawn(folder / f"masks/{nucleus:064x}.png", values)


def pcam(raw):
    import h5py

    raw.mkdir()
    rng, found = np.random.default_rng(0), {}
    for split in ("train", "valid", "test"):
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(raw / f"{stem}_x.h5", "w") as file:
            file["x"] = rng.integers(0, 256, (8, 96, 96, 3), np.uint8)
        with h5py.File(raw / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(8) % 2).reshape(8, 1, 1, 1)
        found |= {f"{stem}_{each}.h5.gz": raw / f"{stem}_{each}.h5" for each in "xy"}
    return found
