"""DUT-OMRON: 5,168 images with a mask of the salient objects."""

from __future__ import annotations

from cosnet_jax.data.builders.image_mask_pairs import ImageMaskPairs


class DutOmron(ImageMaskPairs):
    """DUT-OMRON (Yang et al., Saliency Detection via Graph-Based Manifold Ranking, CVPR 2013).

    Obtained from http://saliencydetection.net/dut-omron/ (images and "pixel-wise ground truth"); the source is the
    folder with `DUT-OMRON-image/*.jpg` and `pixelwiseGT-new-PNG/*.png`. For research.
    """

    LAYOUTS = (("DUT-OMRON-image", "pixelwiseGT-new-PNG"),)
