"""Sets of masks as people and annotation tools write them, from the files to what a training gets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from raw_datasets import HEIGHT, WIDTH, draw_image, draw_mask, make_config, make_stills, make_videos, save

from cosnet_jax.data.pipeline import make_batches
from cosnet_jax.data.prepare import prepare
from cosnet_jax.data.sequences import open_sequences, open_stills
from cosnet_jax.errors import InputError

TRUTH = draw_mask(0)


def test_a_set_can_have_masks_of_every_kind(tmp_path):
    labels, white = TRUTH.astype(np.uint8), 255 * TRUTH.astype(np.uint8)
    labels[18:26, 20:30] *= 2  # a second object
    palette = Image.fromarray(labels).convert("P")
    palette.putpalette([9, 9, 9, 1, 0, 0, 0, 1, 0])
    kinds = {
        "a.png": Image.fromarray(labels),
        "b.tif": Image.fromarray(labels.astype(np.uint16)),
        "c.PNG": palette,
        "d.png": Image.fromarray(np.dstack([np.full((*TRUTH.shape, 3), 255, np.uint8), white])),  # a cut-out
        "e.gif": Image.fromarray(np.dstack([white] * 3)),  # index 0 of its palette is white
        "f.JPG": Image.fromarray(white),
        "g.bmp": Image.fromarray(TRUTH),
    }
    for name, mask in kinds.items():
        save(tmp_path / f"raw/images/{name[0]}.jpg", draw_image(0))
        (tmp_path / "raw/masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "raw/masks" / name)
    (stills,) = open_stills(make_config(tmp_path / "prepared", stills={"source": str(tmp_path / "raw")}))
    for i, name in enumerate(kinds):
        assert (stills.mask(i) != TRUTH).mean() < (0.01 if "JPG" in name else 1e-9), name


@pytest.mark.parametrize(("value", "kind"), [(0, "empty"), (255, "full")])
def test_a_set_without_objects_or_background_is_an_error(tmp_path, value, kind):
    make_videos(tmp_path / "pets", {"cat": (2, (0, 1))})
    for i in range(2):
        save(tmp_path / f"pets/cat/masks/{i}.png", np.full((HEIGHT, WIDTH), value, np.uint8))
    with pytest.raises(InputError, match=rf"videos/pets/.* all 2 masks are {kind}.*cat/masks/0.png"):
        prepare("videos", str(tmp_path / "pets"), str(tmp_path / "prepared"))
    save(tmp_path / "pets/cat/masks/1.png", 255 * draw_mask(1).astype(np.uint8))
    prepare("videos", str(tmp_path / "pets"), str(tmp_path / "prepared"))


@pytest.mark.parametrize(("orientation", "turn"), [(3, lambda a: np.rot90(a, 2)), (6, np.rot90)])
def test_images_and_masks_are_turned_upright(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "set/images/a.png", np.ascontiguousarray(turn(draw_image(0))), exif=exif)
    save(tmp_path / "set/masks/a.png", 255 * TRUTH.astype(np.uint8))
    save(tmp_path / "set/images/b.png", draw_image(0))
    save(tmp_path / "set/masks/b.png", np.ascontiguousarray(turn(255 * TRUTH.astype(np.uint8))), exif=exif)
    config = make_config(tmp_path / "prepared", stills={"source": str(tmp_path / "set")})
    for i in range(2):
        image, mask = open_stills(config)[0].frame_and_mask(i)
        assert np.array_equal(image, draw_image(0)) and np.array_equal(mask, TRUTH)


def test_a_mask_drawn_on_an_unturned_image_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "set/images/a.jpg", draw_image(0), exif=exif)
    save(tmp_path / "set/masks/a.png", 255 * TRUTH.astype(np.uint8))
    with pytest.raises(InputError, match=rf"masks/a.png is {WIDTH}x{HEIGHT} .*images/a.jpg is {HEIGHT}x{WIDTH}"):
        prepare("stills", str(tmp_path / "set"), str(tmp_path / "prepared"))


def test_soft_maps_reach_the_training_and_are_cut_for_scores(tmp_path):
    soft = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    for folder in ("own/photos", "pets/cat"):
        for i in range(2):
            save(tmp_path / folder / f"images/{i}.jpg", draw_image(i))
            save(tmp_path / folder / f"maps/{i}.png", soft)
    make_stills(tmp_path / "own/hard/images", tmp_path / "own/hard/masks", 2)
    make_videos(tmp_path / "hard", {"dog": (2, (0, 1))})
    videos = {"source": f"{tmp_path}/pets,{tmp_path}/hard"}
    config = make_config(tmp_path / "prepared", train_videos="videos", videos=videos)
    for kind, source, axes, dtype in (
        ("still", "own", (8,), np.float16), ("still", "own/hard", (8,), np.uint8), ("video", "own", (4, 2), np.float16),
    ):  # fmt: skip
        config.stills.source = str(tmp_path / source)
        stream = make_batches(kind, config, (HEIGHT, WIDTH), axes[0], seed=0)  # two epochs
        masks = next(stream)["mask"]
        stream.close()
        assert masks.shape == (*axes, HEIGHT, WIDTH) and masks.dtype == dtype
        expected = [draw_mask(0), draw_mask(1)] + [soft / 255] * (dtype == np.float16)
        found = {mask.tobytes() for mask in masks.reshape(-1, HEIGHT, WIDTH)}
        assert found == {mask.astype(dtype).tobytes() for mask in expected}
    cat, dog = sorted(open_sequences("videos", "train", config), key=lambda sequence: not sequence.soft)
    assert np.array_equal(cat.frame_and_target(0)[1], soft) and np.array_equal(cat.mask(0), soft > 127)
    assert not dog.soft and dog.mask(0).dtype == bool
    save(tmp_path / "pets/cat/maps/1.png", draw_image(1))
    with pytest.raises(InputError, match=r"cat/maps/1.png has colours"):
        prepare("videos", str(tmp_path / "pets"), str(tmp_path / "prepared"))
