"""DICOM → picture: values by the standard's own formulas, refusals by name, no patient."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.decoding import MAX_PIXELS
from fedpatchcore.data.dicom import dicom_size, read_scan
from fedpatchcore.data.dicom_plain import plain_dicom
from fedpatchcore.data.images import list_images, load_image
from fedpatchcore.data.reduced import load_reduced
from fedpatchcore.data.sizes import image_size
from fedpatchcore.data.value_range import ValueRange, parse_range
from fedpatchcore.errors import ImageError
from tests.support.dicoms import SENTINEL, deflated_bomb, dicom, pydicom, scan

RLE, J2K, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
IMPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


def grey(data: bytes, tmp_path: Path, given: str = "") -> np.ndarray:
    """The picture as everything reads it, uint8 ``[H, W]``."""
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    picture = np.asarray(load_image(path, parse_range(given)))
    assert (picture == picture[..., :1]).all()
    return picture[..., 0]


def wanted(data: bytes) -> np.ndarray:
    """By pydicom's own rescale and window, from black to white."""
    told = pydicom.dcmread(io.BytesIO(data))
    values = pydicom.pixels.apply_modality_lut(told.pixel_array, told)
    made = pydicom.pixels.apply_windowing(values, told).astype(float)
    low, high = (pydicom.pixels.apply_modality_lut(np.array(one), told) for one in ends(told))
    return np.rint(255 * ((made - low) / (high - low)).clip(0, 1)).astype(np.uint8)


def ends(told) -> tuple[int, int]:
    bits = told.BitsStored
    return (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if told.PixelRepresentation else (0, 2**bits - 1)
    )


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("low", [0, -2048])
def test_window_and_rescale_are_the_standards(tmp_path: Path, function: str, low: int) -> None:
    told = {"RescaleSlope": 1.5, "RescaleIntercept": -1024, "VOILUTFunction": function}
    told |= {"WindowCenter": [300, 9], "WindowWidth": [900, 9]}  # the first one counts
    data = dicom(scan(low=low, high=low + 4095), **told)
    assert np.abs(grey(data, tmp_path).astype(int) - wanted(data)).max() <= 1


def test_golden_values_of_a_window(tmp_path: Path) -> None:
    """PS3.3 C.11.2.1.2.1, its own example: centre 2048, width 4096; and a narrow one by hand."""
    values = np.array([[0, 1024, 2048, 4095]], np.int32)
    assert grey(dicom(values, WindowCenter=2048, WindowWidth=4096), tmp_path).tolist() == [
        [0, 64, 128, 255]
    ]
    # c = 100, w = 5: black up to 97.5, white from 101.5; between ((x - 99.5) / 4 + 0.5)
    values = np.array([[97, 98, 99, 100, 101, 102]], np.int32)
    told = grey(dicom(values, WindowCenter=100, WindowWidth=5), tmp_path)
    assert told.tolist() == [[0, 32, 96, 159, 223, 255]]


def test_monochrome1_is_the_negative(tmp_path: Path) -> None:
    window = {"WindowCenter": 1000, "WindowWidth": 2000}
    plain = grey(dicom(**window), tmp_path)
    turned = grey(dicom(**window, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    assert (turned == 255 - plain).all() and turned.std() > 50


def test_without_a_window_all_that_its_bits_hold(tmp_path: Path) -> None:
    values = np.array([[-2048, 0, 2047]], np.int32)
    assert grey(dicom(values), tmp_path).tolist() == [[0, 128, 255]]
    assert grey(dicom(values, RescaleSlope=-1, RescaleIntercept=5), tmp_path).tolist() == [
        [255, 127, 0]
    ]


def test_a_stated_range_comes_before_the_files_window(tmp_path: Path) -> None:
    values = np.array([[0, 24, 1024, 2024, 4095]], np.int32)
    told = {"RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 10}
    found = grey(dicom(values, **told), tmp_path, "-1000..1000")
    assert found.tolist() == [[0, 0, 128, 255, 255]]  # what lies outside is clipped, not refused


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, RLE])
@pytest.mark.parametrize("low", [0, -2048])
def test_however_it_is_stored_it_is_the_same_picture(tmp_path: Path, syntax: str, low: int) -> None:
    values = scan(low=low, high=low + 4095)
    plain = grey(dicom(values, WindowCenter=500, WindowWidth=900), tmp_path)
    told = dicom(values, syntax, WindowCenter=500, WindowWidth=900)
    assert (grey(told, tmp_path) == plain).all()


def packed(frame: bytes, syntax: str, **elements) -> bytes:
    """A file whose one frame is compressed like this."""
    told = pydicom.dcmread(io.BytesIO(dicom(scan(high=255), bits=8)))
    told.BitsAllocated, told.file_meta.TransferSyntaxUID = 8, pydicom.uid.UID(syntax)
    told.PixelData = pydicom.encaps.encapsulate([frame])
    told["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(told, name, value)
    stream = io.BytesIO()
    told.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEG), ("JPEG2000", J2K)])
def test_compressed_frames_that_pillow_decodes(tmp_path: Path, kind: str, syntax: str) -> None:
    told = Image.fromarray(scan(high=255).astype(np.uint8)).resize((64, 64), 1)
    stream = io.BytesIO()
    told.save(stream, kind, **({"quality": 100} if kind == "JPEG" else {}))
    data = packed(stream.getvalue(), syntax, Rows=64, Columns=64)
    assert np.abs(grey(data, tmp_path).astype(int) - np.asarray(told)).max() <= 4
    with pytest.raises(ImageError, match="another size than it says"):
        grey(packed(stream.getvalue(), syntax, Rows=63, Columns=64), tmp_path)


def test_colour(tmp_path: Path) -> None:
    made = np.random.default_rng(1).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    told = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    told |= {"BitsAllocated": 8, "HighBit": 7, "PixelData": made.tobytes()}
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(np.zeros((8, 9)), bits=8, **told))
    assert (np.asarray(load_image(path)) == made).all()
    path.write_bytes(plain_dicom(path.read_bytes(), MAX_PIXELS))
    assert (np.asarray(load_image(path)) == made).all()


def test_window_and_rescale_of_an_enhanced_file_stand_in_its_groups(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def item(**told) -> Dataset:
        made = Dataset()
        for name, value in told.items():
            setattr(made, name, value)
        return made

    rescale = item(RescaleSlope=2, RescaleIntercept=-1024)
    window = item(WindowCenter=200, WindowWidth=700)
    shared = item(PixelValueTransformationSequence=Sequence([rescale]))
    own = item(FrameVOILUTSequence=Sequence([window]))
    groups = {"SharedFunctionalGroupsSequence": Sequence([shared])}
    groups |= {"PerFrameFunctionalGroupsSequence": Sequence([own]), "NumberOfFrames": 1}
    told = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 200, "WindowWidth": 700}
    assert (grey(dicom(**groups), tmp_path) == grey(dicom(**told), tmp_path)).all()


def test_bits_above_the_stored_ones_are_no_samples(tmp_path: Path) -> None:
    values = scan()
    dirty = dicom(values | 0xF000, bits=12)
    assert (grey(dirty, tmp_path) == grey(dicom(values), tmp_path)).all()


LUT = {"ModalityLUTSequence": [pydicom.Dataset()]}
SHOWN = {"VOILUTSequence": [pydicom.Dataset()]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"NumberOfFrames": 24, "PixelData": bytes(24 * 2048)}, "24 frames.*one frame a file"),
        ({"BurnedInAnnotation": "YES"}, "burnt into the picture"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ({"PhotometricInterpretation": SENTINEL}, "photometric interpretation"),
        (LUT, "lookup table"),
        (SHOWN, "value-range"),
        ({"Rows": 65000, "Columns": 65000}, "65000x65000 is more than"),
        ({"Rows": 0}, "no pixels"),
        ({"PixelData": None}, "holds no pixels"),
        ({"PixelData": b"1234"}, "cannot be decoded as DICOM"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "bits a sample"),
        ({"HighBit": 14}, "lowest bits"),
        ({"RescaleSlope": 0}, "slope is 0"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "no width"),
        ({"SamplesPerPixel": 3}, "do not fit"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
@pytest.mark.filterwarnings("ignore")  # pydicom does not like to write these
def test_what_is_not_taken_is_refused_by_name(tmp_path: Path, changes: dict, why: str) -> None:
    with pytest.raises(ImageError, match=why) as told:
        grey(dicom(**changes), tmp_path)
    assert SENTINEL not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("syntax", "named"),
    [("1.2.840.10008.1.2.4.70", "JPEG Lossless"), ("1.2.840.10008.1.2.4.80", "JPEG-LS")]
    + [("1.2.840.10008.1.2.1.99", "deflated"), (f"{SENTINEL}", "not known here")],
)
def test_compressions_that_are_not_decoded_are_named(
    tmp_path: Path, syntax: str, named: str
) -> None:
    whole = dicom()
    old = b"1.2.840.10008.1.2.1\0"
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    at = whole.index(b"UI\x14\0" + old)
    told = whole[:at] + b"UI" + struct.pack("<H", len(new)) + new + whole[at + 4 + len(old) :]
    with pytest.raises(ImageError, match=f"{named}.*store it uncompressed") as error:
        grey(told, tmp_path)
    assert SENTINEL not in str(error.value)


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path) -> None:
    data = deflated_bomb()
    assert len(data) < 200_000
    begin = time.process_time()
    with pytest.raises(ImageError, match="deflated"):
        grey(data, tmp_path)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_what_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    data = dicom()
    with pytest.raises(ImageError, match="cannot be decoded|holds no pixels|compressed"):
        grey(data[: round(share * len(data)) - 100], tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_no_text_of_a_file_stands_in_an_error(tmp_path: Path) -> None:
    """A name where a number should be: what reads it quotes it, and is not listened to."""
    whole = dicom(WindowCenter="12345678", WindowWidth="87654321", RescaleSlope="11111111")
    for number in (b"12345678", b"11111111"):
        broken = whole.replace(number, SENTINEL.encode())
        assert broken != whole
        with pytest.raises(ImageError) as told:
            grey(broken, tmp_path)
        assert SENTINEL not in str(told.value) and told.value.__cause__ is None
        assert SENTINEL not in repr(told.value.__context__)


def test_what_is_kept_is_the_picture_and_nothing_else(tmp_path: Path) -> None:
    for low, more in ((0, {}), (-2048, {"PhotometricInterpretation": "MONOCHROME1"})):
        told = {"RescaleSlope": 1.25, "WindowCenter": 77.5, "WindowWidth": 801, **more}
        data = dicom(scan(low=low, high=low + 4095), RLE, RescaleIntercept=-3, **told)
        assert data.count(SENTINEL.encode()) > 20
        kept = plain_dicom(data, MAX_PIXELS)
        assert SENTINEL.encode() not in kept and b"4711" not in kept and b"1941" not in kept
        assert plain_dicom(kept, MAX_PIXELS) == kept
        assert (grey(kept, tmp_path) == grey(data, tmp_path)).all()
        assert (grey(kept, tmp_path, "9..777") == grey(data, tmp_path, "9..777")).all()
        told = pydicom.dcmread(io.BytesIO(kept))
        assert {one.keyword for one in told} <= ALLOWED


ALLOWED = {
    *("SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "PhotometricInterpretation", "Rows"),
    *("Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "WindowCenter"),
    *("WindowWidth", "RescaleIntercept", "RescaleSlope", "VOILUTFunction", "PixelData"),
}


def test_everything_that_reads_images_reads_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.DCM").write_bytes(dicom(scan(40), WindowCenter=900, WindowWidth=1800))
    (path,) = list_images(tmp_path)
    picture = load_image(path)
    assert picture.mode == "RGB" and image_size(path) == picture.size == (40, 40)
    assert dicom_size(path.read_bytes()) == (40, 40)
    reduced, box = load_reduced(path, lambda width, height: (8, 8))
    assert (np.asarray(reduced) == np.asarray(picture)).all() and box == (0, 0, 40, 40)
    given = ValueRange(0.0, 99.0)
    ranged, _ = load_reduced(path, lambda width, height: (8, 8), given)
    assert (np.asarray(ranged) == np.asarray(load_image(path, given))).all()
    look, other = Looks().at(path), Looks(given).at(path)
    assert (look.problem, look.size, look.bits) == ("", (40, 40), 8)
    assert look.mean == pytest.approx(np.asarray(picture.convert("L")).mean())
    assert other.mean == pytest.approx(np.asarray(ranged.convert("L")).mean())
    (tmp_path / "b.dcm").write_bytes(dicom()[132:])  # without its mark
    with pytest.raises(ImageError):
        load_image(tmp_path / "b.dcm")


def test_read_scan_tells_what_a_file_says() -> None:
    values = scan(low=-100, high=900)
    told = read_scan(dicom(values, RescaleSlope=2, RescaleIntercept=1), MAX_PIXELS)
    assert (told.samples == values).all() and told.samples.dtype == np.int32
    assert (told.bits, told.signed, told.slope, told.intercept) == (12, True, 2.0, 1.0)
