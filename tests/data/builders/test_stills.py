"""The layouts of the sets of still images."""

from __future__ import annotations

import pytest
from raw_datasets import draw_image, make_stills, save

from cosnet_jax.data.builders.stills import DutOmron, Duts, Msra10k, Stills


@pytest.mark.parametrize(
    ("builder", "images", "masks", "name"),
    [
        (Duts, "DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask", "duts"),
        (Msra10k, "MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs", "msra10k"),
        (Msra10k, ".", ".", "msra10k"),
        (DutOmron, "DUT-OMRON-image", "pixelwiseGT-new-PNG", "dut_omron"),
        (Stills, "images", "masks", "raw"),
        (Stills, "images", "saliencymaps", "raw"),
        (Stills, "JPEGImages", "SegmentationClass", "raw"),
    ],
)
def test_official_layouts(tmp_path, builder, images, masks, name):
    source = tmp_path / "raw"
    make_stills(source / images, source / masks, 3)
    (source / images / ".DS_Store").write_text("")
    (source / images / "._0000.jpg").write_text("")
    scan = builder.scan(source)
    assert scan.problems == []
    frames = scan.splits["train"]
    assert [(frame.sequence, frame.name) for frame in frames] == [(name, f"{i:04d}") for i in range(3)]
    assert frames[2][2:4] == (source / images / "0002.jpg", source / masks / "0002.png")


def test_images_without_mask_and_doubles_are_problems(tmp_path):
    make_stills(tmp_path / "images", tmp_path / "masks", 4)
    save(tmp_path / "images/0001.png", draw_image(1))
    for name in ("masks/0002.png", "masks/0003.png", "images/0000.jpg"):
        (tmp_path / name).unlink()
    scan = Stills.scan(tmp_path)
    double, no_mask = scan.problems
    assert "0001.png has the same stem as 0001.jpg" in double
    assert f"{tmp_path}/masks/0002.png not found: 2 images" in no_mask
    assert "1 masks without an image" in scan.notes[0] and len(scan.splits["train"]) == 3
    (tmp_path / "images").rename(tmp_path / "pictures")
    assert Stills.scan(tmp_path).frames() == [] and "images + masks or images + maps" in Stills.LAYOUT
