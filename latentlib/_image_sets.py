"""What the sets of pictures are: splits, licence, citation, official files with their published MD5, rule of the crop.

No SHA-256 of decoded pixels is published for any of them, and JPEG decoders differ in the last bit: the MD5 of the
archive vouches where there is one, else names and counts do, and the first installation records the fingerprints.
MD5 sums: DTD, Places365, CelebA and Imagenette from torchvision's tables; Mastcam from the Zenodo record; LSUN and iSUN
from the tables of the packages pytorch-ood and detectors, for the authors published none.
"""

from latentlib._source import OfficialFile, Source

DTD_URL = "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/"
PLACES_URL = "http://data.csail.mit.edu/places/places365/"
ODIN_URL = "https://www.dropbox.com/s/raw/"
MASTCAM_URL = "https://zenodo.org/records/3732485/files/"
IMAGENETTE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/"
# Questions of the Galaxy Zoo 2 decision tree and their answers: 37 columns Class<question>.<answer>.
GALAXY_ANSWERS = (3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6)
VOTE_NAMES = tuple(f"Class{q}.{a}" for q, count in enumerate(GALAXY_ANSWERS, 1) for a in range(1, count + 1))

_DTD = {
    "homepage": "https://www.robots.ox.ac.uk/~vgg/data/dtd/", "licence": "research",
    "citation": "Cimpoi, Maji, Kokkinos, Mohamed and Vedaldi, CVPR 3606 (2014)", "dtype": "uint8",
}  # fmt: skip
_ODIN = {
    "homepage": "https://github.com/facebookresearch/odin", "licence": "none stated", "dtype": "uint8",
    "decoder": "folder", "target": None, "shape": (32, 32, 3),
}  # fmt: skip
_IMAGENET = {
    "licence": "ImageNet terms of access: non-commercial research and education", "dtype": "uint8",
    "shape": (64, 64, 3), "crop": 0,
}  # fmt: skip

IMAGE_SETS = (
    Source(
        name="dtd", **_DTD, n={"train": 1880, "val": 1880, "test": 1880}, shape=(32, 32, 3), crop=0, decoder="dtd",
        files=(
            OfficialFile(
                "dtd-r1.0.1.tar.gz", (DTD_URL + "dtd-r1.0.1.tar.gz",), "fff73e5086ae6bdbea199a49dfb8a4c1"
            ),
        ),
        ood_split="all", note="partition 1; y: the 47 classes in alphabetical order; from JPEG",
    ),
    Source(
        name="dtd10", **_DTD, n={"train": 1200}, shape=(32, 32, 3), decoder="", other_archives=("dtd10_32.npz",),
        ood_split="train", note="120 textures of each of 10 classes of DTD, from JPEG; no official split: all samples",
        fingerprints={
            "x32": "bbc523ed1b278a6c812934b73ef5bd5a0f54fc646f9d04d56bd3835706b124e6",
            "y": "be729c05a8e4544d169a7471bd8e91876f8466ad47826042e7ca1f34489edcab",
        },
    ),
    Source(
        name="places365", n={"val": 36_500}, shape=(32, 32, 3), dtype="uint8", crop=0, decoder="places365",
        homepage="http://places2.csail.mit.edu", licence="non-commercial research and education",
        citation="Zhou, Lapedriza, Khosla, Oliva and Torralba, IEEE Trans. PAMI 40, 1452 (2018)",
        files=(
            OfficialFile("val_256.tar", (PLACES_URL + "val_256.tar",), "e27b17d8d44f4af9a78502beb927f808"),
            OfficialFile(
                "filelist_places365-standard.tar", (PLACES_URL + "filelist_places365-standard.tar",),
                "35a0585fee1fa656440f3ab298f8479c",
            ),
        ),
        target=((), "uint16"), ood_split="val", note="small (256 × 256) validation pictures, from JPEG",
    ),
    Source(
        name="lsun_crop", **_ODIN, n={"test": 10_000}, crop=32,
        citation="Yu et al., arXiv:1506.03365 (2015); cut by Liang, Li and Srikant, ICLR (2018)",
        files=(
            OfficialFile(
                "LSUN.tar.gz", (ODIN_URL + "fhtsw1m3qxlwj6h/LSUN.tar.gz",), "458a0a0ab8e5f1cb4516d7400568e460"
            ),
        ),
        note="cuts of the ODIN release; their central 32 × 32, as in its code",
    ),
    Source(
        name="lsun_resize", **_ODIN, n={"test": 10_000}, crop=0,
        citation="Yu et al., arXiv:1506.03365 (2015); resized by Liang, Li and Srikant, ICLR (2018)",
        files=(
            OfficialFile(
                "LSUN_resize.tar.gz", (ODIN_URL + "moqh2wh8696c3yl/LSUN_resize.tar.gz",),
                "278b7b31c8cb7e804a1465a8ce03a2dc",
            ),
        ),
        note="32 × 32 pictures of the ODIN release, resized by its authors: their resampling leaves artefacts",
    ),
    Source(
        name="isun", **_ODIN, n={"test": 8925}, crop=0,
        citation="Xu et al., arXiv:1504.06755 (2015); resized by Liang, Li and Srikant, ICLR (2018)",
        files=(
            OfficialFile(
                "iSUN.tar.gz", (ODIN_URL + "ssz7qxfqae0cca5/iSUN.tar.gz",), "be77b0f2c26fda898afac5f99645ee70"
            ),
        ),
        note="32 × 32 pictures of the ODIN release, resized by its authors: their resampling leaves artefacts",
    ),
    Source(
        name="celeba64", n={"train": 162_770, "val": 19_867, "test": 19_962}, shape=(64, 64, 3), dtype="uint8",
        crop=148, decoder="celeba", target=None, homepage="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        licence="non-commercial research, no redistribution",
        citation="Liu, Luo, Wang and Tang, ICCV 3730 (2015)",
        files=(
            OfficialFile("img_align_celeba.zip", (), "00d2c5bc6d35e252742224ab0c1e8fcb"),
            OfficialFile("list_eval_partition.txt", (), "d32c9cbf5e040fd4025c592c306e6668"),
        ),
        note="aligned faces, from JPEG; the cut is ours, publications differ (108 to 178)",
    ),
    Source(
        name="galaxy_zoo64", n={"train": 61_578}, shape=(64, 64, 3), dtype="uint8", crop=207, decoder="galaxy_zoo",
        homepage="https://www.kaggle.com/c/galaxy-zoo-the-galaxy-challenge",
        licence="rules of the Kaggle competition, to be accepted there",
        citation="Willett et al., MNRAS 435, 2835 (2013); Dieleman, Willett and Dambre, MNRAS 450, 1441 (2015)",
        files=(
            OfficialFile("images_training_rev1.zip", (), None),
            OfficialFile("training_solutions_rev1.zip", (), None, also="training_solutions_rev1.csv"),
        ),
        target=((len(VOTE_NAMES),), "float32"), ood_split="train",
        note="votes, not labels: odd is vote('Class6.1') above a threshold of yours; the cut is Dieleman's 207 of 424",
    ),
    Source(
        name="mars_mastcam", n={"train": 9302, "val": 1386, "test": 856}, shape=(64, 64, 6), dtype="float32",
        decoder="mastcam", homepage="https://doi.org/10.5281/zenodo.3732485",
        licence="as stated at Zenodo; NASA/JPL-Caltech/MSSS",
        citation="Kerner et al., Data Mining and Knowledge Discovery 34, 1642 (2020)",
        files=tuple(
            OfficialFile(name, (MASTCAM_URL + name,), md5)
            for name, md5 in (
                ("train_typical.zip", "c00a056386eafc8597e0295890a79b40"),
                ("validation_typical.zip", "6062a278279c10bf7ead7438846940b7"),
                ("test_typical.zip", "1393469a7348e233f2154d501864d7b6"),
                ("test_novel.zip", "b423a12d6539eac4bf2c02acb729ba8e"),
            )
        ),
        note="six filter bands, in the numbers (0 to 255 presumably) and the order of the files, which do not say the "
        "filters; y: 0 typical, 1 novel (folder all/ of test_novel, 430 of 856)",
    ),
    Source(
        name="imagenette", **_IMAGENET, n={"train": 9469, "val": 3925}, decoder="imagenette", ood_split="val",
        homepage="https://github.com/fastai/imagenette", citation="Howard, Imagenette (2019); Deng et al., CVPR (2009)",
        files=(
            OfficialFile(
                "imagenette2-160.tgz", (IMAGENETTE_URL + "imagenette2-160.tgz",), "e793b78cc4c9e9a4ccc0c1155377a412"
            ),
        ),
        note="version 2, shorter side 160, from JPEG; y: the 10 WordNet numbers in order",
    ),
    Source(
        name="imagenet_classes", **_IMAGENET, n={"all": 0}, decoder="class_folders", ood_split="all",
        homepage="https://www.image-net.org", citation="Russakovsky et al., IJCV 115, 211 (2015)",
        files=(OfficialFile("wnids.txt", (), None),), target=((), "uint16"),
        note="your classes: wnids.txt lists their WordNet numbers, <wnid>/ or <wnid>.tar lies beside it; y: its order",
    ),
)
