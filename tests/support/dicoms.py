"""DICOM files with everything in them that a scanner writes of a patient."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pip install 'fedpatchcore[dicom]'")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian  # noqa: E402

__all__ = ["SENTINEL", "deflated_bomb", "dicom", "scan"]

SENTINEL = "ZZWALRUS"
"""Stands in every text that is of a patient, and nowhere else."""
NAMES = (
    ("PatientName", "PatientID", "PatientAddress", "OtherPatientNames", "PatientComments")
    + ("InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName")
    + ("StudyDescription", "SeriesDescription", "ProtocolName", "AccessionNumber", "StationName")
    + ("ImageComments", "StudyID", "PatientMotherBirthName", "MedicalRecordLocator")
    + ("AdditionalPatientHistory", "RequestedProcedureDescription", "DeviceSerialNumber")
)


def scan(size: int = 32, seed: int = 0, low: int = 0, high: int = 4095) -> np.ndarray:
    """int32 ``[size, size]``, random between the two, both of which occur."""
    made = np.random.default_rng(seed).integers(low, high + 1, (size, size), dtype=np.int32)
    made.flat[:2] = low, high
    return made


def dicom(
    samples: np.ndarray | None = None,
    syntax: str = ExplicitVRLittleEndian,
    bits: int = 12,
    patient: bool = True,
    **elements: Any,
) -> bytes:
    """A file of grey samples. ``elements`` by keyword: others, or, with None, none."""
    samples = scan() if samples is None else samples
    meta, made = FileMetaDataset(), Dataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.4711"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    signed = bool(samples.min() < 0)
    made.Rows, made.Columns = samples.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, bits, bits - 1
    made.PixelRepresentation = int(signed)
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    made.PixelData = samples.astype(f"{order}{'i' if signed else 'u'}2").tobytes()
    if patient:
        _patient(made, meta)
    for name, value in elements.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    made.file_meta = meta
    if syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2"):
        meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    preamble = SENTINEL.encode().ljust(128, b"\0") if patient else bytes(128)
    made.preamble = preamble
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def _patient(made: Dataset, meta: FileMetaDataset) -> None:
    for name in NAMES:
        setattr(made, name, f"{SENTINEL}"[:16])
    made.PatientBirthDate, made.StudyDate, made.PatientAge = "19411231", "20261129", "084Y"
    made.SeriesInstanceUID = made.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.4712"
    inner = Dataset()
    inner.PatientID, inner.ScheduledProcedureStepDescription = SENTINEL, SENTINEL
    made.RequestAttributesSequence = Sequence([inner])
    block = made.private_block(0x0011, SENTINEL, create=True)
    block.add_new(0x01, "LO", SENTINEL)
    made.add_new(0x60000010, "US", 8)  # an overlay
    made.add_new(0x60000011, "US", 8)
    made.add_new(0x60003000, "OW", SENTINEL.encode())
    made.add_new(0xFFFCFFFC, "OB", SENTINEL.encode())
    meta.SourceApplicationEntityTitle = SENTINEL
    meta.PrivateInformationCreatorUID = "1.2.826.0.1.3680043.8.498.4713"
    meta.PrivateInformation = SENTINEL.encode()


def deflated_bomb(megabytes: int = 64) -> bytes:
    """A deflated file that is small, and large once it is inflated."""
    import zlib

    head = dicom(patient=False)
    syntax = b"1.2.840.10008.1.2.1.99"
    meta = b"\2\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    made = zlib.compressobj(9, wbits=-15)
    body = made.compress(b"\x10\0\x10\0UN\0\0" + struct.pack("<I", megabytes << 20))
    body += made.compress(bytes(megabytes << 20)) + made.flush()
    begin = b"\2\0\0\0UL\4\0" + struct.pack("<I", len(meta))
    return head[:132] + begin + meta + body
