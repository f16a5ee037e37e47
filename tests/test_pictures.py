"""Laws of one picture, exact against torchvision, and of many: one in memory at a time."""

import tracemalloc
from dataclasses import replace

import numpy as np
import official_files
import pytest
from official_files import fitted, picture
from official_files import smooth_pixels as pixels

from latentlib import _pictures, _sources


@pytest.mark.parametrize("shape", [(40, 57), (57, 40), (33, 33), (32, 32), (20, 31), (213, 161)])
@pytest.mark.parametrize("crop", [0, 19])
def test_fit_picture_is_resize_and_center_crop(shape, crop):
    content = picture(pixels((*shape, 3), 1), "PNG")
    assert np.array_equal(_pictures.fit_picture(content, crop, 32), fitted(content, crop, 32))


def test_fit_picture_leaves_a_picture_of_its_size_as_it_is():
    known = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(_pictures.fit_picture(picture(known, "PNG"), 0, 32), known)
    wide = np.concatenate([known, known], 1)
    assert np.array_equal(_pictures.fit_picture(picture(wide, "PNG"), 0, 32), wide[:, 16:48])
    gray = picture(known[..., 0], "PNG")
    assert np.array_equal(_pictures.fit_picture(gray, 0, 32), np.repeat(known[..., :1], 3, 2))


def test_fit_picture_refuses_bombs_and_other_formats(monkeypatch):
    content = picture(pixels((40, 50, 3), 1))
    with pytest.raises(ValueError, match="sides of at least 41, .* got 50 × 40"):
        _pictures.fit_picture(content, 41, 32)
    with pytest.raises(OSError, match="cannot identify"):
        _pictures.fit_picture(picture(pixels((40, 50, 3), 1), "GIF"), 0, 32)
    with pytest.raises(OSError, match="(?i)truncated"):
        _pictures.fit_picture(content[: len(content) // 2], 0, 32)
    monkeypatch.setattr(_pictures, "MAX_PIXELS", 1999)
    with pytest.raises(ValueError, match="at most 1999 pixels, got 50 × 40"):
        _pictures.fit_picture(content, 0, 32)


def test_decode_pictures_holds_one_picture_in_memory(tmp_path):
    """600 pictures of 64 × 64 are 7.4 MB, in a file: what Python allocates stays below a tenth of that."""
    members = {f"LSUN/test/{k}.png": picture(pixels((64, 64, 3), k), "PNG") for k in range(600)}
    official_files.write_tar(tmp_path / "LSUN.tar", members)
    source = replace(_sources.SOURCES["lsun_crop"], n={"test": 600}, crop=0, shape=(64, 64, 3))
    _pictures.fit_picture(members.popitem()[1], 0, 32)  # Pillow's own modules are loaded before the count
    del members
    tracemalloc.start()
    arrays = _pictures.decode_pictures(source, {"LSUN.tar": tmp_path / "LSUN.tar"}, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What grows with the number is a name and a tar header each: about 1 kB.
    assert arrays["x_test"].nbytes == 600 * 64 * 64 * 3 and peak < arrays["x_test"].nbytes / 10
