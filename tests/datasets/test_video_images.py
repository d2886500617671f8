"""Folders of images: found by name, complete, upright RGB, or an error that names the image."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.videos import grey, grey_frames, read_indices, textured_frames
from slowfast.config import get_cfg
from slowfast.datasets import build_loader
from slowfast.datasets.video import VideoError, check_template, open_video


def write_images(folder, template, numbers, size=(24, 32)):
    """Images whose brightness tells their place."""
    folder.mkdir(exist_ok=True)
    for number, frame in zip(numbers, grey_frames(len(numbers), *size), strict=True):
        Image.fromarray(frame).save(folder / template.format(number))
    return folder


def write_picture(folder, image, name="00001.png", **how):
    image.save(folder / name, **how)
    with open_video(folder) as video:
        return video.frames([0])[0].numpy()


RAMP = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)


# ---------------------------------------------------------------------------- names


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    "template",
    [
        "{:05d}.jpg",
        "img_{:05d}.jpg",
        "image_{:06d}.png",
        "{}.jpg",
        "v_abc123_{:04d}.jpeg",
        "f{:02d}_rgb.PNG",
    ],
)
def test_names_and_start_are_found_out(tmp_path, template, start):
    folder = write_images(tmp_path / "v", template, range(start, start + 12))
    for given in ("", template):
        with open_video(folder, template=given) as video:
            assert video.num_frames == 12
            assert read_indices(video.frames([0, 9, 10, 11, 3])) == [0, 9, 10, 11, 3]


def test_a_given_start_leaves_lower_numbers_alone(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(12))
    with open_video(folder, start=5) as video:
        assert read_indices(video.frames(range(video.num_frames))) == list(range(5, 12))


@pytest.mark.parametrize("start", [3, 8])
def test_a_given_start_must_be_there(tmp_path, start):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(4, 8))
    with pytest.raises(VideoError, match=f"frame {start}"):
        open_video(folder, start=start)


def test_numbers_that_outgrow_their_zeros_stay_in_order(tmp_path):
    folder = write_images(tmp_path / "v", "{:01d}.jpg", range(1, 13))
    with open_video(folder, template="{:01d}.jpg") as video:
        assert read_indices(video.frames(range(12))) == list(range(12))


def test_a_template_chooses_among_kinds_of_frames(tmp_path):
    folder = write_images(tmp_path / "v", "flow_x_{:05d}.jpg", range(1, 4))
    write_images(folder, "img_{:05d}.jpg", range(1, 8))
    with open_video(folder, template="img_{:05d}.jpg") as video:
        assert video.num_frames == 7
    with pytest.raises(VideoError, match="holds frames of 2 kinds .* set DATA.IMAGE_TEMPLATE"):
        open_video(folder)


def test_two_spellings_of_a_number_are_two_kinds(tmp_path):
    folder = write_images(tmp_path / "v", "{:d}.jpg", range(1, 4))
    write_images(folder, "{:03d}.jpg", range(1, 4))
    with pytest.raises(VideoError, match="2 kinds"):
        open_video(folder)
    with open_video(folder, template="{:03d}.jpg") as video:
        assert video.num_frames == 3


def test_other_and_hidden_files_do_not_matter(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 4))
    for name in ("Thumbs.db", "._00001.jpg", ".DS_Store", "audio.wav", "cover.jpg"):
        (folder / name).write_bytes(b"x")
    with open_video(folder) as video:
        assert video.num_frames == 3


def test_a_gap_is_named(tmp_path):
    folder = write_images(tmp_path / "v", "img_{:05d}.jpg", [1, 2, 3, 6, 7, 9])
    with pytest.raises(
        VideoError, match=r"lacks frame 4, behind img_00003\.jpg: 3 of 9 are missing"
    ):
        open_video(folder)


def test_missing_first_frames_are_a_gap(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", [3, 4, 5])
    with pytest.raises(VideoError, match=r"lacks frame 1, before 00003\.jpg: 2 of 5 are missing"):
        open_video(folder)


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["cover.jpg"]])
def test_a_folder_without_numbered_images_is_told(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    what = f"but {names[0]!r}" if names else "it is empty"
    with pytest.raises(VideoError, match=f"is a folder without numbered images, {what}"):
        open_video(tmp_path)


def test_a_template_that_names_nothing_shows_what_is_there(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 4))
    with pytest.raises(VideoError, match=r"no frame named as 'img_00001\.jpg', but '00001\.jpg'"):
        open_video(folder, template="img_{:05d}.jpg")


@pytest.mark.parametrize(
    "template", ["img.jpg", "{:05d}", "{}_{}.jpg", "{name}.jpg", "{:q}.jpg", "%05d.jpg"]
)
def test_a_template_without_one_number_is_refused(template):
    with pytest.raises(ValueError, match="DATA.IMAGE_TEMPLATE=.* must hold one number"):
        check_template(template)


def test_a_loader_checks_its_template(tmp_path):
    write_images(tmp_path / "v", "{:05d}.jpg", range(1, 9))
    (tmp_path / "val.csv").write_text("v 0\n")
    cfg = get_cfg()
    cfg.merge_from_list(
        ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.NUM_CLASSES", 1, "DATA.IMAGE_FPS", 12]
        + ["DATA_LOADER.NUM_WORKERS", 0, "DATA.TEST_CROP_SIZE", 24]
    )
    loader = build_loader(cfg, "val")
    assert len(next(iter(loader))) == 1
    assert loader.dataset.opener(tmp_path / "v").fps == 12
    cfg.DATA.IMAGE_TEMPLATE = "img.jpg"
    with pytest.raises(ValueError, match="IMAGE_TEMPLATE"):
        build_loader(cfg, "val")


# ---------------------------------------------------------------------------- pictures


def test_time_stamps_follow_the_given_rate(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 7))
    with open_video(folder, fps=12) as video:
        assert video.fps == 12
        assert video.timestamps == pytest.approx(np.arange(6) / 12)
    with open_video(folder) as video:
        assert video.fps == 30


def test_a_single_image_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(grey_frames(4, 24, 32)[3]).save(tmp_path / "n01440764_10026.JPEG")
    with open_video(tmp_path / "n01440764_10026.JPEG") as video:
        assert (video.num_frames, video.size) == (1, (24, 32))
        assert read_indices(video.frames([0, 0])) == [3, 3]


def test_a_png_with_the_name_of_a_jpeg_reads(tmp_path):
    Image.fromarray(grey_frames(2, 24, 32)[1]).save(tmp_path / "a.jpg", "PNG")
    with open_video(tmp_path / "a.jpg") as video:
        assert read_indices(video.frames([0])) == [1]


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1"])
def test_any_kind_of_png_becomes_rgb(tmp_path, mode):
    grey_image = Image.fromarray(RAMP if mode != "1" else (RAMP > 99).astype(np.uint8) * 255)
    picture = write_picture(tmp_path, grey_image.convert(mode))
    assert picture.shape == (24, 32, 3)
    assert np.abs(picture.astype(int) - np.asarray(grey_image)[..., None]).max() <= 1


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    picture = write_picture(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 257))
    assert (picture == RAMP[..., None]).all()


def test_cmyk_becomes_rgb(tmp_path):
    colours = np.zeros((24, 32, 3), np.uint8)
    colours[:, :16], colours[:, 16:] = (200, 40, 40), (40, 40, 200)
    image = Image.fromarray(colours).convert("CMYK")
    picture = write_picture(tmp_path, image, "00001.jpg", quality=95)
    assert np.abs(picture[:, ::31].astype(int) - colours[:, ::31]).max() < 12


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (3, 2), (8, 3)])
def test_a_turned_photograph_comes_upright(tmp_path, orientation, turns):
    upright = np.full((24, 32, 3), 30, np.uint8)
    upright[:8, :8] = 220  # a bright corner, top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(np.rot90(upright, turns)))
    picture = write_picture(tmp_path, image, "00001.jpg", exif=exif, quality=95)
    assert picture.shape == upright.shape
    assert np.abs(picture.astype(int) - upright).mean() < 4


def test_large_jpegs_shrink_while_decoding_to_nearly_the_same(tmp_path):
    smooth = Image.fromarray(textured_frames(1, 32, 44)[0]).resize((704, 512), Image.BICUBIC)
    smooth.save(tmp_path / "00001.jpg", quality=95)
    with open_video(tmp_path, short_side=100) as video:
        assert (video.size, video.num_bytes) == ((100, 138), 100 * 138 * 3)
        small = video.frames([0])[0].numpy()
    expected = np.asarray(smooth.resize((138, 100), Image.BILINEAR))
    assert np.abs(small.astype(int) - expected).mean() < 3


def test_small_images_are_never_enlarged(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 4))
    with open_video(folder, short_side=48) as video:
        assert video.size == (24, 32)


# ---------------------------------------------------------------------------- trouble


@pytest.mark.parametrize("content", [b"", b"not an image", bytes(500)])
def test_an_unreadable_image_is_named(tmp_path, content):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 6))
    (folder / "00003.jpg").write_bytes(content)
    with open_video(folder) as video:
        with pytest.raises(VideoError, match=r"00003\.jpg is not a readable image"):
            video.frames(range(5))
        assert read_indices(video.frames([0, 1, 3, 4])) == [0, 1, 3, 4]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_truncated_image_is_named(tmp_path, suffix, part):
    path = tmp_path / f"00001.{suffix}"
    Image.fromarray(textured_frames(1, 64, 80)[0]).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(VideoError, match=rf"00001\.{suffix} is "), open_video(tmp_path) as video:
        video.frames([0])


def test_frames_of_two_sizes_are_told(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.jpg", range(1, 4))
    Image.new("RGB", (40, 30), (grey(3),) * 3).save(folder / "00004.jpg")
    with (
        open_video(folder) as video,
        pytest.raises(VideoError, match=r"00004\.jpg is 30x40 pixels large, but .*1\.jpg is 24x32"),
    ):
        video.frames(range(4))


def test_frames_come_as_one_tensor(tmp_path):
    folder = write_images(tmp_path / "v", "{:05d}.png", range(1, 4))
    with open_video(folder) as video:
        frames = video.frames(torch.tensor([2, 0]))
    assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (2, 24, 32, 3))
