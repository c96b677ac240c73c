#!/usr/bin/python3
"""Writes the HDF5 files of the transcripts: 12x12 u8 images of 4 classes. Needs h5py; the files are committed."""
import os
import h5py
import numpy

folder = os.path.dirname(os.path.abspath(__file__))
rng = numpy.random.default_rng(1)
images = rng.integers(0, 256, size=(16, 12, 12, 1), dtype=numpy.uint8)
labels = (numpy.arange(16) % 4).astype(numpy.int32)


def write(name, x, y):
    with h5py.File(os.path.join(folder, name), "w", track_order=False) as file:
        file.create_dataset("test/x", data=x, fletcher32=True, chunks=x.shape, track_times=False)
        file.create_dataset("test/y", data=y, fletcher32=True, chunks=y.shape, track_times=False)


write("images.h5", images, labels)
write("wide.h5", images.reshape(16, 6, 24, 1), labels)
write("class9.h5", images, numpy.where(labels == 3, 9, labels).astype(numpy.int32))
