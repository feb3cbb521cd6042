import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from histo_simclr.slides import reader, tissue

GLASS = 243
# By hand, on a picture of 598 × 800 px of the slide: outline, the gap in it, and the strip.
OUTLINE = (
    "213,55 245,40 290,22 330,40 358,75 388,110 405,150 430,175 435,240 460,290 485,300 530,355 "
    "500,375 485,370 470,395 440,430 415,460 400,500 430,490 460,490 495,490 505,580 500,655 "
    "475,720 465,800 155,800 150,710 205,580 235,420 235,290 255,220 262,130 240,90"
)
GAP = "295,92 330,115 382,128 385,160 372,205 352,170 318,170"
STRIP = "18,308 90,275 140,274 232,290 236,298 140,300 60,305"


@pytest.fixture(scope="module")
def thumbnail(cmu):
    with reader.open_slide(cmu) as slide:
        return slide.thumbnail(8.0, max_pixels=10**6)


@pytest.fixture(scope="module")
def stained(thumbnail):
    """(120, 120, 3) uint8 of real tissue from edge to edge."""
    patch = thumbnail[140:180, 60:90]
    return np.tile(np.concatenate([patch, patch[::-1]]), (2, 4, 1))[:120, :120]


def on_glass(pixels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A disc of `pixels` on slightly noisy glass of twice the side, and where the disc is."""
    side = 2 * len(pixels)
    noise = np.random.default_rng(seed).integers(-2, 3, (side, side, 3))
    image = (GLASS + noise).astype(np.uint8)
    rows, columns = np.mgrid[:side, :side]
    disc = np.hypot(rows - side / 2, columns - side / 2) < len(pixels) / 2
    whole = np.tile(pixels, (2, 2, 1))
    image[disc] = whole[disc]
    return image, disc


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def polygon(text: str) -> list[tuple[float, ...]]:
    return [tuple(float(each) for each in corner.split(",")) for corner in text.split()]


def test_mask_agrees_with_an_outline_drawn_by_hand(thumbnail):
    canvas = Image.new("L", (598, 800))
    draw = ImageDraw.Draw(canvas)
    for outline, fill in ((OUTLINE, 255), (GAP, 0), (STRIP, 255)):
        draw.polygon(polygon(outline), fill=fill)
    by_hand = np.asarray(canvas.resize(thumbnail.shape[1::-1])) > 127
    found = tissue.find(thumbnail, 8.0)
    assert dice(found.mask, by_hand) > 0.93
    assert sum(found.removed.values()) < 0.01


STAINS = {
    "eosin": (230, 170, 200),
    "pale stroma": (225, 206, 218),
    "DAB": (150, 105, 70),
    "counterstain": (190, 200, 220),
    "PAS": (200, 120, 170),
    "gray": (180, 180, 182),
}


@pytest.mark.parametrize("stain", STAINS)
def test_every_stain_is_tissue_and_glass_is_none(stained, stain):
    texture = stained.astype(float) - stained.mean(axis=(0, 1))
    pixels = np.clip(np.array(STAINS[stain]) + 0.3 * texture, 0, 255).astype(np.uint8)
    image, disc = on_glass(pixels)
    found = tissue.find(image, 8.0)
    assert dice(found.mask, disc) > 0.95
    assert found.found == pytest.approx(disc.mean(), rel=0.1)


def test_a_slide_that_is_all_tissue_stays_whole(stained):
    assert tissue.find(stained, 8.0).mask.mean() > 0.97


def test_empty_glass_has_no_tissue():
    image, _ = on_glass(np.full((60, 60, 3), GLASS, np.uint8))
    found = tissue.find(image, 8.0)
    assert found.found == 0
    assert not found.mask.any()
    assert set(found.removed.values()) == {0.0}


PENS = {"green": (40, 150, 90), "blue": (30, 60, 170), "red": (220, 30, 40), "black": (50, 48, 52)}


@pytest.mark.parametrize("pen", PENS)
def test_pen_is_removed_with_its_halo_unless_it_is_kept(stained, pen):
    image, disc = on_glass(stained)
    rows = np.zeros_like(disc)
    rows[110:130] = True
    image[rows] = PENS[pen]
    found = tissue.find(image, 8.0)
    assert not found.mask[106:134].any()
    assert dice(found.mask, disc & ~rows) > 0.9
    assert found.removed["pen"] > 0.1
    kept = tissue.find(image, 8.0, keep=["pen", "blur"])  # nothing is to be seen in this ink
    assert kept.removed["pen"] == 0
    assert kept.mask[120, 120]


def test_real_stains_are_no_pen(stained):
    assert tissue.find(stained, 8.0).removed["pen"] == 0


def test_black_border_is_removed(stained):
    image, disc = on_glass(stained)
    image[:30], image[:, :20] = 0, 0
    found = tissue.find(image, 8.0)
    assert dice(found.mask, disc) > 0.95
    black = 1 - 210 / 240 * 220 / 240
    assert found.removed["border"] == pytest.approx(black / found.found, rel=0.02)


@pytest.mark.parametrize("sigma_um", [0, 2, 10, 20])
def test_blurred_field_is_removed_and_a_sharp_one_is_not(cmu, sigma_um):
    with reader.open_slide(cmu) as slide:
        field = Image.fromarray(slide.read(700, 1900, mpp=2.0, px=240))
    blurred = field.filter(ImageFilter.GaussianBlur(sigma_um / 2.0))
    pixels = np.asarray(blurred.resize((60, 60), Image.Resampling.BOX))
    removed = tissue.find(pixels, 8.0).removed["blur"]
    assert removed > 0.9 if sigma_um >= 10 else removed == 0


def test_specks_are_removed(stained):
    image, disc = on_glass(stained)
    image[10:15, 10:15] = (150, 60, 120)
    found = tissue.find(image, 8.0)
    assert not found.mask[8:17, 8:17].any()
    assert found.removed["speck"] == pytest.approx(25 / (disc.sum() + 25), rel=0.3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_otsu_is_scikit_images(seed):
    from skimage.filters import threshold_otsu

    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.beta(2, 30, 5000), generator.beta(6, 8, 3000)])
    # Bins over [0, 1] here, over the values' range there.
    assert tissue.otsu(values) == pytest.approx(threshold_otsu(values), abs=2 / 256)
    assert tissue.otsu(np.zeros(0)) == 0


def test_hue_is_scikit_images(noise):
    from skimage.color import rgb2hsv

    pixels = noise(50, 40)
    expected = 360 * rgb2hsv(pixels)[..., 0]
    apart = (tissue._hue(pixels) - expected + 180) % 360 - 180
    np.testing.assert_allclose(apart, 0, atol=1e-3)
