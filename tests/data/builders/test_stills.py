"""The layouts of the sets of still images."""

from __future__ import annotations

import pytest
from raw_datasets import draw_image, make_stills, save

from cosnet_jax.data.builders.stills import DutOmron, Duts, Msra10k, Stills
from cosnet_jax.errors import InputError

LAYOUTS = [
    (Duts, "DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask", "duts"),
    (Duts, "DUTS-TR-Image", "DUTS-TR-Mask", "duts"),
    (Msra10k, "MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs", "msra10k"),
    (Msra10k, "Imgs", "Imgs", "msra10k"),
    (DutOmron, "DUT-OMRON-image", "pixelwiseGT-new-PNG", "dut_omron"),
    (Stills, "images", "masks", "raw"),
    (Stills, "images", "saliencymaps", "raw"),
    (Stills, "JPEGImages", "SegmentationClass", "raw"),
]


@pytest.mark.parametrize(("builder", "images", "masks", "name"), LAYOUTS)
def test_official_layouts(tmp_path, builder, images, masks, name):
    source = tmp_path / "raw"
    make_stills(source / images, source / masks, 3)
    (source / images / ".DS_Store").write_text("")
    (source / images / "._0000.jpg").write_text("")
    scan = builder.scan(source)
    assert scan.problems == []
    frames = scan.splits["train"]
    assert [(frame.sequence, frame.name) for frame in frames] == [(name, f"{i:04d}") for i in range(3)]
    assert frames[2].image == source / images / "0002.jpg"
    assert frames[2].mask == source / masks / "0002.png"


def test_another_layout(tmp_path):
    make_stills(tmp_path / "pictures", tmp_path / "masks", 1)
    (problem,) = Stills.scan(tmp_path).problems
    assert "images + masks or images + maps" in problem


def test_an_image_without_mask(tmp_path):
    make_stills(tmp_path / "images", tmp_path / "masks", 3)
    (tmp_path / "masks/0001.png").unlink()
    (problem,) = Stills.scan(tmp_path).problems
    assert str(tmp_path / "images/0001.jpg") in problem and "masks/0001.png" in problem


def test_a_mask_without_image_is_noted(tmp_path):
    make_stills(tmp_path / "images", tmp_path / "masks", 3)
    (tmp_path / "images/0001.jpg").unlink()
    scan = Stills.scan(tmp_path)
    assert scan.problems == [] and len(scan.splits["train"]) == 2
    assert "1 masks without an image" in scan.notes[0]


def test_two_images_of_one_stem(tmp_path):
    make_stills(tmp_path / "images", tmp_path / "masks", 2)
    save(tmp_path / "images/0001.png", draw_image(1))
    (problem,) = Stills.scan(tmp_path).problems
    assert "0001.png has the same stem as 0001.jpg" in problem


def test_sources_are_sets_or_folders_of_sets(tmp_path):
    for name in ("group/cats", "group/dogs", "alone"):
        make_stills(tmp_path / name / "images", tmp_path / name / "masks", 1)
    (tmp_path / "group/notes").mkdir()
    found = Stills.find_sets(f"{tmp_path}/group, {tmp_path}/alone")
    assert found == {
        "cats": tmp_path / "group/cats",
        "dogs": tmp_path / "group/dogs",
        "alone": tmp_path / "alone",
    }


def test_sources_without_sets_are_errors(tmp_path):
    with pytest.raises(InputError, match=r"missing is not a folder"):
        Stills.find_sets(str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"holds no set: expected images \+ masks"):
        Stills.find_sets(str(tmp_path))
    for name in ("a/cats", "b/cats"):
        make_stills(tmp_path / name / "images", tmp_path / name / "masks", 1)
    with pytest.raises(InputError, match=r"b/cats and .*a/cats have the same name"):
        Stills.find_sets(f"{tmp_path}/a,{tmp_path}/b")
