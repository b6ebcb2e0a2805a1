"""read_checkpoint.py FOLDER EXPECTED FILE...: checks a checkpoint of the tests, with its slices in these files, through h5py alone.

EXPECTED holds each tensor's float32 values in a file named like it, with @ for /."""
import json
import os
import sys

import h5py
import numpy as np

folder, expected_folder, files = sys.argv[1], sys.argv[2], sys.argv[3:]
tensors = []
with h5py.File(os.path.join(folder, "index.h5"), "r") as index:
    assert index.attrs["step"] == 10 and index.attrs["policy_version"] == 11, dict(index.attrs)
    assert index.attrs["optimizer_steps"] == 20 and index.attrs["schema_version"] == 1
    assert index.attrs["config_hash"] == "abc123"
    assert json.loads(index["info/extra"].asstr()[()]) == {"best": 0.5}
    assert "model.path = \u00fc" in index["info/config"].asstr()[()]
    assert list(index["info/rank_files"].asstr()) == files
    names = list(index["info/tensor_names"].asstr())
    for name in names:
        expected = np.fromfile(os.path.join(expected_folder, name.replace("/", "@")), "<f4")
        data = index[name]
        assert data.dtype == np.float32, name
        assert np.array_equal(data[...].ravel(), expected), name
        if data.ndim == 2 and data.size > 0:
            assert np.array_equal(data[3:9, 5:], expected.reshape(data.shape)[3:9, 5:]), name
        tensors.append((name, expected))
    shapes = {name: index[name].shape for name in names}
    assert shapes["parameters/conv"] == (5, 7, 11) and shapes["parameters/scale"] == (1,), shapes
    assert shapes["parameters/none"] == (0, 4), shapes

found = 0
for rank, file in enumerate(files):
    with h5py.File(os.path.join(folder, file), "r") as part:
        assert part.attrs["step"] == 10 and part.attrs.get("rank", 0) == rank
        for name, expected in tensors:
            if name not in part:
                continue
            begin, end = part[name].attrs["begin"], part[name].attrs["end"]
            assert tuple(part[name].attrs["shape"]) in (shapes[name], ()), name
            assert np.array_equal(part[name][:], expected[begin:end]), name
            found += end - begin
assert found == sum(expected.size for _, expected in tensors), found
