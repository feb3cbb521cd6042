import pytest

from histo_simclr.errors import InputError
from histo_simclr.slides import resolution
from histo_simclr.slides.resolution import NoMppError

TIFF = {"tiff.XResolution": "20000", "tiff.YResolution": "40000"}
TIFF |= {"tiff.ResolutionUnit": "centimeter"}
OME = {"ome.PhysicalSizeX": "250", "ome.PhysicalSizeXUnit": "nm", "ome.PhysicalSizeY": "0.25"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.26", "aperio.MPP": "9"}, (0.25, 0.26)),
        ({"aperio.MPP": "0.499", **TIFF}, (0.499, 0.499)),
        ({"ventana.ScanRes": "0.2325"}, (0.2325, 0.2325)),
        (OME, (0.25, 0.25)),
        (TIFF, (0.5, 0.25)),
        ({"tiff.XResolution": "50800", "tiff.ResolutionUnit": "inch"}, (0.5, 0.5)),
        # Absurd values are passed over for the next source.
        ({"openslide.mpp-x": "0", "openslide.mpp-y": "0", **TIFF}, (0.5, 0.25)),
        ({"openslide.mpp-x": "1e6", "aperio.MPP": "0.5"}, (0.5, 0.5)),
        ({"openslide.objective-power": "20"}, (0.5, 0.5)),
        ({"aperio.AppMag": "40", "openslide.mpp-x": "nan"}, (0.25, 0.25)),
    ],
)
def test_mpp_comes_from_the_first_source_that_makes_sense(properties, expected):
    found = resolution.from_properties(properties)
    assert (found.x, found.y) == pytest.approx(expected)
    assert found.source


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({}, "^no µm/px and no objective power$"),
        ({"tiff.XResolution": "72", "tiff.ResolutionUnit": "inch"}, "352.778 by tiff.XRes"),
        ({"tiff.XResolution": "1", "tiff.ResolutionUnit": "none"}, "no µm/px"),
        ({"openslide.mpp-x": "0"}, "absurd µm/px: 0 by openslide.mpp-x"),
        ({"openslide.mpp-x": "1e6"}, "1e[+]06 by openslide.mpp-x"),
        ({"openslide.objective-power": "0"}, "no objective power"),
        ({"openslide.mpp-x": "half"}, "nan by openslide.mpp-x"),
        ({"tiff.XResolution": "0", "tiff.ResolutionUnit": "inch"}, "absurd µm/px: 0"),
    ],
)
def test_no_sensible_mpp_is_no_mpp(properties, says):
    with pytest.raises(NoMppError, match=says):
        resolution.from_properties(properties)


@pytest.mark.parametrize(
    "text",
    [
        "wsi,mpp\na/b.svs,0.25\nc.tif,0.5\n",
        "\ufeffnote,MPP,wsi\nx,0.25,a/b.svs\n,0.5,c.tif\n",
        "a/b.svs,0.25\nc.tif,0.5\n\n",
        "wsi,mpp\na/b.svs,0.25\nc.tif,0.5\nd.tif,\n",
    ],
)
def test_tables_of_trident_and_stamp_are_read(tmp_path, text):
    (tmp_path / "mpp.csv").write_text(text, encoding="utf-8")
    assert resolution.read_table(tmp_path / "mpp.csv") == {"a/b.svs": 0.25, "c.tif": 0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wsi,mpp\na.svs,0\n", r"csv:2: mpp is '0'; give µm/px.*0.05 to 20"),
        ("wsi,mpp\na.svs,1e6\n", "mpp is '1e6'"),
        ("wsi,mpp\na.svs,40x\n", "mpp is '40x'"),
        ("slide,mpp\na.svs,0.25\n", "csv:1: mpp is 'mpp'"),
        ("wsi,mpp\na.svs,0_25\n", "mpp is '0_25'"),
        ("wsi,mpp\na.svs,٠.٥\n", "mpp is '٠.٥'"),
        ("wsi,mpp\n,0.25\n", "csv:2: no slide named; fill it or delete the line"),
        ('note,wsi,mpp\n"two\nlines",a.svs,0.25\n,b.svs,x\n', "csv:4: mpp is 'x'"),
        ("a.svs\n", "1 columns"),
        ("wsi,mpp\na.svs,0.25\na.svs,0.5\n", "csv:3: a second mpp of a.svs"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(tmp_path, text, says):
    (tmp_path / "mpp.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        resolution.read_table(tmp_path / "mpp.csv")


@pytest.mark.parametrize(
    ("mpp", "power"), [(0.12, 80), (0.17, 60), (0.25, 40), (0.499, 20), (1.0, 10), (2.0, 5), (4, 0)]
)
def test_nominal_magnification_is_tridents(mpp, power):
    assert resolution.nominal_magnification(mpp) == power
