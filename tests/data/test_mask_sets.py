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
INSIDE = np.zeros((HEIGHT, WIDTH), bool)
INSIDE[18:26, 20:30] = True  # part of every mask of `draw_mask`


def palette(labels: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(labels.astype(np.uint8)).convert("P")
    image.putpalette(colours)
    return image


def rgba(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))


WHITE = np.repeat(255 * TRUTH[..., None], 3, axis=2)
OPAQUE = np.full_like(TRUTH, 255, np.uint8)
LABELS = TRUTH + (INSIDE & TRUTH)  # 0, 1, 2
SMOOTH = np.clip(255 * TRUTH.astype(float) + np.random.default_rng(0).normal(0, 20, TRUTH.shape), 0, 255)
SETS = {
    "0 and 1.png": Image.fromarray(TRUTH.astype(np.uint8)),
    "labels.png": Image.fromarray(LABELS.astype(np.uint8)),
    "16 bits.png": Image.fromarray((65535 * TRUTH).astype(np.uint16)),
    "16-bit labels.png": Image.fromarray(LABELS.astype(np.uint16)),
    "bilevel.png": Image.fromarray(TRUTH),
    "bilevel.tif": Image.fromarray(TRUTH),
    "bitmap.bmp": Image.fromarray(255 * TRUTH.astype(np.uint8)),
    "VOC.png": palette(LABELS, [0, 0, 0, 128, 0, 0, 0, 128, 0]),
    "dark palette.png": palette(LABELS, [0, 0, 0, 1, 0, 0, 0, 1, 0]),
    "CVAT.png": Image.fromarray(np.where(TRUTH[..., None], [51, 221, 255], 0).astype(np.uint8)),
    "RGBA.png": rgba(WHITE, OPAQUE),
    "Photoshop.png": rgba(np.full_like(WHITE, 255), 255 * TRUTH),
    "black cut-out.png": rgba(np.zeros_like(WHITE), 255 * TRUTH),
    "soft.png": Image.fromarray(SMOOTH.astype(np.uint8)),
    "JPEG.JPG": Image.fromarray(255 * TRUTH.astype(np.uint8)),
    "colours.gif": Image.fromarray(WHITE.astype(np.uint8)),  # index 0 of its palette is white
    "lossy.webp": Image.fromarray(WHITE.astype(np.uint8)),
    "suffix.PNG": Image.fromarray(255 * TRUTH.astype(np.uint8)),
}
LOSSY = ("JPEG.JPG", "lossy.webp")


@pytest.mark.parametrize("name", SETS)
def test_sets_of_every_kind_are_read_rightly(tmp_path, name):
    save(tmp_path / "raw/images/a.jpg", draw_image(0))
    path = tmp_path / f"raw/masks/a.{name.rpartition('.')[2]}"
    path.parent.mkdir()
    SETS[name].save(path, **({"quality": 90} if name in LOSSY else {}))
    config = make_config(tmp_path / "prepared", stills={"source": str(tmp_path / "raw")})
    mask = open_stills(config)[0].mask(0)
    assert (mask != TRUTH).mean() < (0.01 if name in LOSSY else 1e-9)


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


def make_soft(tmp_path) -> np.ndarray:
    """Makes a set of stills and a set of videos with the soft map that is returned, and a set with hard masks."""
    soft = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    for folder in ("own/photos", "pets/cat"):
        for i in range(2):
            save(tmp_path / folder / f"images/{i}.jpg", draw_image(i))
            save(tmp_path / folder / f"maps/{i}.png", soft)
    make_stills(tmp_path / "own/hard/images", tmp_path / "own/hard/masks", 2)
    make_videos(tmp_path / "hard", {"dog": (2, (0, 1))})
    return soft


def test_soft_maps_reach_the_training_and_are_cut_for_scores(tmp_path):
    soft, source = make_soft(tmp_path), {"source": str(tmp_path / "own")}
    videos = {"source": f"{tmp_path}/pets,{tmp_path}/hard"}
    config = make_config(tmp_path / "prepared", stills=source, train_videos="videos", videos=videos)
    for kind, axes in (("still", (8,)), ("video", (4, 2))):
        stream = make_batches(kind, config, (HEIGHT, WIDTH), axes[0], seed=0)  # two epochs
        masks = next(stream)["mask"]
        stream.close()
        assert masks.shape == (*axes, HEIGHT, WIDTH) and masks.dtype == np.float16
        found = {mask.tobytes() for mask in masks.reshape(-1, HEIGHT, WIDTH)}
        assert found == {mask.astype(np.float16).tobytes() for mask in (soft / 255, draw_mask(0), draw_mask(1))}
    cat, dog = sorted(open_sequences("videos", "train", config), key=lambda sequence: not sequence.soft)
    assert np.array_equal(cat.frame_and_target(0)[1], soft) and np.array_equal(cat.mask(0), soft > 127)
    assert not dog.soft and dog.mask(0).dtype == bool
    config.stills.source += "/hard"  # sets without soft maps give masks of 0 and 1
    stream = make_batches("still", config, (HEIGHT, WIDTH), 2, seed=0)
    masks = next(stream)["mask"]
    stream.close()
    assert masks.dtype == np.uint8 and set(np.unique(masks)) == {0, 1}
