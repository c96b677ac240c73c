#!/usr/bin/python3
"""Writes the files of other programs that tests/test_npz.c and tests/test_h5_hostile.c read.

Run in this folder, with Debian's python3-numpy and python3-h5py. The committed files were written
with numpy 1.24.2 and h5py 3.7.0 on HDF5 1.10.8; zip entries hold the time, so bytes differ from run
to run.
"""
import h5py
import numpy as np

arrays = {
    'conv1.weight': np.arange(24, dtype='<f4').reshape(2, 3, 2, 2) / 8 - 1,
    'double': np.array([0.1, -2.5, 1e-3, float('inf')], dtype='<f8'),
    'signed': np.array([[-128, 127], [0, -1]], dtype='i1'),
    'bytes': np.array([0, 127, 128, 255], dtype='u1'),
    'wide': np.array([-2147483648, 2147483647, -1], dtype='<i4'),
    'long': np.array([-9223372036854775808, 9223372036854775807, -1, 16777217], dtype='<i8'),
    'scalar': np.float32(0.25),
}
np.savez('npz_stored.npz', **arrays)
np.savez_compressed('npz_deflated.npz', **arrays)
np.savez('npz_fortran.npz', a=np.asfortranarray(np.arange(6, dtype='f4').reshape(2, 3)))
np.savez('npz_object.npz', a=np.array([None, 'x'], dtype=object))
np.savez('npz_big_endian.npz', a=np.arange(3, dtype='>f4'))

with h5py.File('h5_foreign.h5', 'w', libver='earliest') as f:
    # What is read.
    f['images'] = np.arange(24, dtype='u1').reshape(2, 3, 4)
    f['big_endian'] = np.array([1, -2, 300], dtype='>i2')
    f['f8'] = np.array([0.5, -1.25])
    f['f8_fine'] = np.array([0.1])
    f['i8'] = np.array([1, 255, -1], dtype='i8')
    f['u8max'] = np.array([2**64 - 1], dtype='u8')
    f['scalar'] = np.float32(1.5)
    f['words'] = np.array([b'cat', b'dogs'], dtype='S4')
    f.create_dataset('gzip', data=np.arange(100, dtype='i4'), compression='gzip', shuffle=True,
                     fletcher32=True)
    group = f.create_group('group')
    group['data'] = np.arange(3, dtype='i4')
    f['hard'] = f['images']
    # What is refused, one reason each.
    f['half'] = np.array([1.0], dtype='f2')
    f['bool'] = np.array([True])
    f['compound'] = np.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f4')])
    f.create_dataset('variable', data=['cat', 'dogs'], dtype=h5py.string_dtype())
    f['rank6'] = np.zeros((1,) * 6, dtype='u1')
    f.create_dataset('null', data=h5py.Empty('f4'))
    f['soft'] = h5py.SoftLink('/images')
    f['outside'] = h5py.ExternalLink('h5_other.h5', '/images')
    group['soft'] = h5py.SoftLink('/group')
    f['named'] = np.dtype('i4')
    f.create_dataset('of_named', (2,), dtype=f['named'])
    f.create_dataset('bomb', (1 << 17, 1 << 14), dtype='u1', chunks=(1024, 1024),
                     compression='gzip')
    f.create_dataset('lzf', data=np.arange(100, dtype='i4'), compression='lzf')
    f.create_dataset('huge_chunk', (10,), maxshape=(None,), dtype='f4', chunks=(1 << 28,))
    external = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    external.set_external(b'h5_outside.raw', 0, 12)
    h5py.h5d.create(f.id, b'external', h5py.h5t.STD_I32LE, h5py.h5s.create_simple((3,)), external)
    f.attrs['text'] = np.bytes_(b'plain')
    f.attrs['variable'] = 'of variable length'
    f.attrs['int'] = np.int16(-7)
    f.attrs['u64'] = np.uint64(2**64 - 1)
    f.attrs['real'] = np.float32(0.5)
    f.attrs['array'] = np.arange(3)

with h5py.File('h5_virtual.h5', 'w', libver='latest') as f:
    layout = h5py.VirtualLayout((3,), 'i4')
    layout[:] = h5py.VirtualSource('h5_other.h5', 'images', (3,))
    f.create_virtual_dataset('virtual', layout)
    f['plain'] = np.arange(3, dtype='i4')

with h5py.File('h5_circle.h5', 'w') as f:
    group = f.create_group('a')
    group['back'] = f['/']
    group['data'] = np.arange(3, dtype='i4')
