"""DUTS-TR: 10,553 images with a mask of the salient object."""

from __future__ import annotations

from cosnet_jax.data.builders.image_mask_pairs import ImageMaskPairs


class Duts(ImageMaskPairs):
    """DUTS-TR, the training part of DUTS (Wang et al., CVPR 2017).

    Obtained from http://saliencydetection.net/duts/ ("DUTS-TR"); the source is the folder that holds `DUTS-TR`, or
    `DUTS-TR` itself, with `DUTS-TR-Image/*.jpg` and `DUTS-TR-Mask/*.png`. The images are from ImageNet: for research.
    """

    LAYOUTS = (("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"), ("DUTS-TR-Image", "DUTS-TR-Mask"))
