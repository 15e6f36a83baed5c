import pytest

from contour.core.memory import MemoryBound


@pytest.mark.parametrize(
    ("text", "total"), [("2GB", 2_000_000_000), ("1500 MB", 1_500_000_000), ("2.5GiB", 2_684_354_560), ("3g", None)]
)
def test_sizes_as_people_write_them(text: str, total: int | None) -> None:
    if total is None:
        with pytest.raises(ValueError, match="such as 2GB"):
            MemoryBound.of(text)
    else:
        assert MemoryBound.of(text).total_bytes == total


@pytest.mark.parametrize("text", ["", "much", "-2GB", "2 TB", "200MB", "1e9"])
def test_what_is_no_size_or_too_little_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 2GB|at least 1\.5 GB"):
        MemoryBound.of(text)


def test_more_memory_allows_larger_images_and_patches() -> None:
    small, large = MemoryBound.of("1.5GB"), MemoryBound.of("8GB")
    assert 0 < small.image_bytes < large.image_bytes
    assert 0 < small.patch_voxels < large.patch_voxels
    assert small.is_narrow
    assert not large.is_narrow
