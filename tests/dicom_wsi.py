"""Small DICOM whole slides (PS3.3 A.32.8) for the tests, by pydicom: one file a level."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
)

ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's, for UIDs that stand for nothing
STUDY, FRAME_OF_REFERENCE = f"{ROOT}1", f"{ROOT}2"


def tiles(pixels: np.ndarray, tile: int) -> Iterable[np.ndarray]:
    """The tiles of an image row by row, those at its ends filled up with white."""
    height, width = pixels.shape[:2]
    ends = ((0, -height % tile), (0, -width % tile), (0, 0))
    padded = np.pad(pixels, ends, constant_values=255)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield padded[top : top + tile, left : left + tile]


def verbatim(svs: Path) -> list[bytes]:
    """The JPEG tiles of an SVS's first image, as they are, with their tables put back in."""
    import tifffile

    with tifffile.TiffFile(svs) as file:
        page = file.pages[0]
        tables = page.jpegtables[:-2]  # without the marker that ends an image
        found = []
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            found.append(tables + file.filehandle.read(length)[2:])
        return found


def write(
    path: Path,
    frames: list[bytes],
    *,
    size: tuple[int, int],
    tile: int,
    mpp: float | tuple[float, float] = 0.5,
    level: int = 0,
    series: int = 1,
    syntax: str = JPEGBaseline8Bit,
    photometric: str = "RGB",
    sparse: list[tuple[int, int]] | None = None,
    kind: str = "",
    part: tuple[int, int, int] | None = None,
) -> Path:
    """Writes one level of a slide.

    Args:
      path: of the file.
      frames: tiles as they are stored.
      size: (width, height) in px of the level.
      tile: side of the tiles.
      mpp: µm/px of the level, or (x, y); 0: the file does not say.
      level: 0 for the full resolution.
      series: number that the files of one slide share.
      syntax: UID of how the tiles are stored.
      photometric: their colors.
      sparse: (column, row) of each frame; None: all tiles are there, row by row.
      kind: "LABEL" or "OVERVIEW" for an image beside the slide.
      part: (number, of how many, frames before it) of a level that is spread over several files.
    """
    data = Dataset()
    data.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    data.SOPInstanceUID = f"{ROOT}{series}.3.{level}.{len(kind)}"
    data.StudyInstanceUID = STUDY
    data.SeriesInstanceUID = f"{ROOT}{series}.4"
    data.FrameOfReferenceUID = FRAME_OF_REFERENCE
    data.Modality = "SM"
    data.ContainerIdentifier = f"slide {series}"
    data.InstanceNumber = level + 1
    first = "DERIVED" if level else "ORIGINAL"
    data.ImageType = [first, "PRIMARY", kind or "VOLUME", "RESAMPLED" if level else "NONE"]
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = size
    data.Columns = data.Rows = tile
    data.NumberOfFrames = len(frames)
    data.SamplesPerPixel = 1 if photometric.startswith("MONO") else 3
    data.PhotometricInterpretation = photometric
    if data.SamplesPerPixel == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.LossyImageCompression = "01" if syntax == JPEGBaseline8Bit else "00"
    data.BurnedInAnnotation = data.SpecimenLabelInImage = "NO"
    data.VolumetricProperties, data.FocusMethod = "VOLUME", "AUTO"
    data.ExtendedDepthOfField = "NO"
    data.ImagedVolumeDepth = data.ImagedVolumeWidth = data.ImagedVolumeHeight = 1.0
    mpp = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    if all(mpp):
        data.ImagedVolumeWidth, data.ImagedVolumeHeight = (
            side * each / 1000 for side, each in zip(size, mpp, strict=True)
        )
    data.ImageOrientationSlide = [0, 1, 0, 1, 0, 0]
    data.NumberOfOpticalPaths = 1
    data.TotalPixelMatrixFocalPlanes = 1
    data.OpticalPathSequence = [_optical_path()]
    data.TotalPixelMatrixOriginSequence = [Dataset()]
    data.TotalPixelMatrixOriginSequence[0].XOffsetInSlideCoordinateSystem = 0.0
    data.TotalPixelMatrixOriginSequence[0].YOffsetInSlideCoordinateSystem = 0.0
    data.SharedFunctionalGroupsSequence = [_shared(mpp, data.ImageType)]
    data.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    if sparse:
        data.PerFrameFunctionalGroupsSequence = [_place(*each, tile) for each in sparse]
    if part:
        data.SOPInstanceUIDOfConcatenationSource = data.SOPInstanceUID
        data.ConcatenationUID = f"{data.SOPInstanceUID}.5"
        data.SOPInstanceUID = f"{data.SOPInstanceUID}.{part[0]}"
        data.InConcatenationNumber, data.InConcatenationTotalNumber = part[:2]
        data.ConcatenationFrameOffsetNumber = part[2]
    is_native = syntax == ExplicitVRLittleEndian
    data.PixelData = b"".join(frames) if is_native else encapsulate(frames)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = not is_native
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path, enforce_file_format=True)
    return path


def _optical_path() -> Dataset:
    path, light = Dataset(), Dataset()
    light.CodeValue, light.CodingSchemeDesignator, light.CodeMeaning = (
        "111744",
        "DCM",
        "Brightfield",
    )
    path.OpticalPathIdentifier = "0"
    path.IlluminationTypeCodeSequence = [light]
    return path


def _shared(mpp: tuple[float, float], image_type: list[str]) -> Dataset:
    shared, frame_type = Dataset(), Dataset()
    frame_type.FrameType = image_type
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [frame_type]
    if all(mpp):
        measures = Dataset()
        measures.PixelSpacing = [mpp[1] / 1000, mpp[0] / 1000]  # between rows, between columns
        measures.SliceThickness = 0.001
        shared.PixelMeasuresSequence = [measures]
    return shared


def _place(column: int, row: int, tile: int) -> Dataset:
    frame, position = Dataset(), Dataset()
    position.ColumnPositionInTotalImagePixelMatrix = column * tile + 1
    position.RowPositionInTotalImagePixelMatrix = row * tile + 1
    position.XOffsetInSlideCoordinateSystem = 0.0
    position.YOffsetInSlideCoordinateSystem = 0.0
    position.ZOffsetInSlideCoordinateSystem = 0.0
    frame.PlanePositionSlideSequence = [position]
    return frame
