"""MSRA10K: 10,000 images with a mask of the salient object."""

from __future__ import annotations

from cosnet_jax.data.builders.image_mask_pairs import ImageMaskPairs


class Msra10k(ImageMaskPairs):
    """MSRA10K (Cheng et al., Global Contrast based Salient Region Detection, TPAMI 2015).

    Obtained from https://mmcheng.net/msra10k/ ("MSRA10K_Imgs_GT.zip"); the source is the folder that holds
    `MSRA10K_Imgs_GT`, that folder or its `Imgs`, with `*.jpg` and `*.png` side by side. For research.
    """

    LAYOUTS = (("MSRA10K_Imgs_GT/Imgs", "MSRA10K_Imgs_GT/Imgs"), ("Imgs", "Imgs"), (".", "."))
