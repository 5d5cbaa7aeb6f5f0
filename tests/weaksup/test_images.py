"""Pictures of every kind that a folder may hold, made here with Pillow."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from weaksup import images
from weaksup.errors import DataError, UsageError
from weaksup.images import UnreadableImage, decode, list_images, locate_image, to_eight_bits

RED = (255, 0, 0)


def save(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def plain(size=(8, 6), colour=RED, mode="RGB"):
    return Pillow.new(mode, size, colour)


def near(pixels, colour, tolerance=6):
    return (np.abs(pixels.astype(int) - np.array(colour)) <= tolerance).all()


class TestList:
    def test_ids_are_relative_paths_with_suffix_in_order(self, tmp_path):
        for name in ("b.v1.JPG", "a/x.png", "a/x.jpeg", "c.TIF", "d.webp", "notes.txt", ".h.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        (tmp_path / ".thumbs").mkdir()
        (tmp_path / ".thumbs" / "t.png").write_bytes(b"")
        (tmp_path / "folder.png").mkdir()
        listed = list_images([tmp_path])
        assert [i for i, _ in listed] == ["a/x.jpeg", "a/x.png", "b.v1.JPG", "c.TIF", "d.webp"]
        assert all(path == tmp_path / image for image, path in listed)

    def test_colliding_ids_get_their_folders_name(self, tmp_path):
        for name in ("one/x.png", "two/x.png", "one/y.png"):
            save(tmp_path / name, plain())
        listed = list_images([tmp_path / "one", tmp_path / "two"])
        assert [i for i, _ in listed] == ["one/x.png", "two/x.png", "y.png"]

    def test_the_same_folder_twice_counts_once(self, tmp_path):
        save(tmp_path / "x.png", plain())
        assert len(list_images([tmp_path, tmp_path / "." / ".." / tmp_path.name])) == 1

    def test_colliding_ids_in_folders_of_one_name_are_refused(self, tmp_path):
        for name in ("one/set/x.png", "two/set/x.png"):
            save(tmp_path / name, plain())
        with pytest.raises(UsageError, match=r"set/x\.png"):
            list_images([tmp_path / "one" / "set", tmp_path / "two" / "set"])

    def test_links_to_folders_are_followed_once(self, tmp_path):
        save(tmp_path / "real" / "x.png", plain())
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "linked").symlink_to(tmp_path / "real")
        (tmp_path / "real" / "back").symlink_to(tmp_path / "images")
        assert [i for i, _ in list_images([tmp_path / "images"])] == ["linked/x.png"]

    def test_a_name_that_is_no_utf_8_becomes_an_id(self, tmp_path):
        with open(bytes(tmp_path) + b"/caf\xe9.png", "wb"):  # noqa: PTH123 - a name of bytes
            pass
        assert [i for i, _ in list_images([tmp_path])] == ["caf\N{REPLACEMENT CHARACTER}.png"]

    def test_an_empty_folder_is_bad_data(self, tmp_path):
        with pytest.raises(DataError, match="no image"):
            list_images([tmp_path])

    def test_a_missing_folder_is_wrong_usage(self, tmp_path):
        with pytest.raises(UsageError, match="nowhere"):
            list_images([tmp_path / "nowhere"])


class TestDecode:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
    def test_every_format(self, tmp_path, suffix):
        pixels, size = decode(save(tmp_path / f"x.{suffix}", plain()))
        assert pixels.shape == (6, 8, 3)
        assert pixels.dtype == np.uint8
        assert size == (6, 8)
        assert near(pixels, RED)

    @pytest.mark.parametrize(
        ("mode", "colour", "suffix", "expected"),
        [
            ("L", 77, "jpg", (77, 77, 77)),
            ("1", 1, "png", (255, 255, 255)),
            ("CMYK", (0, 255, 255, 0), "jpg", RED),
            ("LA", (10, 0), "png", (255, 255, 255)),
            ("RGBA", (255, 0, 0, 0), "png", (255, 255, 255)),
            ("RGBA", (255, 0, 0, 255), "png", RED),
            ("I;16", 65535, "png", (255, 255, 255)),
            ("I;16", 32896, "png", (128, 128, 128)),
            ("I;16", 257, "tiff", (1, 1, 1)),
            ("F", 0.5, "tiff", (128, 128, 128)),
            ("YCbCr", (76, 84, 255), "jpg", RED),
        ],
    )
    def test_every_mode(self, tmp_path, mode, colour, suffix, expected):
        pixels, _ = decode(save(tmp_path / f"x.{suffix}", plain(mode=mode, colour=colour)))
        assert pixels.shape == (6, 8, 3)
        assert near(pixels, expected)

    def test_a_palette_with_a_transparent_colour(self, tmp_path):
        picture = Pillow.new("P", (4, 2), 0)
        picture.putpalette([0, 0, 255, 255, 0, 0])
        picture.putpixel((0, 0), 1)
        pixels, _ = decode(save(tmp_path / "x.png", picture, transparency=0))
        assert near(pixels[0, 0], RED)
        assert near(pixels[1], (255, 255, 255))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, tmp_path, orientation):
        upright = Pillow.new("RGB", (32, 16), (0, 0, 255))
        upright.paste(RED, (0, 0, 8, 8))
        # What a camera stores, by the inverse of what a viewer does (EXIF 2.32, tag 274).
        stored = {
            1: [],
            2: [Pillow.Transpose.FLIP_LEFT_RIGHT],
            3: [Pillow.Transpose.ROTATE_180],
            4: [Pillow.Transpose.FLIP_TOP_BOTTOM],
            5: [Pillow.Transpose.TRANSPOSE],
            6: [Pillow.Transpose.ROTATE_90],
            7: [Pillow.Transpose.TRANSVERSE],
            8: [Pillow.Transpose.ROTATE_270],
        }[orientation]
        picture = upright
        for step in stored:
            picture = picture.transpose(step)
        exif = Pillow.Exif()
        exif[274] = orientation
        pixels, size = decode(save(tmp_path / "x.jpg", picture, exif=exif, quality=95))
        assert size == (16, 32)
        assert pixels.shape == (16, 32, 3)
        assert near(pixels[2:6, 2:6], RED, 30)
        assert near(pixels[2:6, -6:-2], (0, 0, 255), 30)

    def test_a_damaged_exif_block_does_not_matter(self, tmp_path):
        path = save(tmp_path / "x.jpg", plain(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
        assert near(decode(path)[0], RED)

    def test_the_first_frame_of_an_animation(self, tmp_path):
        frames = [plain(colour=colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
        for suffix in ("gif", "webp", "png", "tiff"):
            path = save(
                tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:]
            )
            assert near(decode(path)[0], RED), suffix

    @pytest.mark.parametrize("suffix", ["jpg", "png"])
    def test_a_huge_picture_is_reduced(self, tmp_path, monkeypatch, suffix):
        monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
        monkeypatch.setattr(images, "_LARGE_PIXELS", 20_000)
        picture = plain((400, 200), (0, 0, 255))
        picture.paste(RED, (0, 0, 200, 200))
        pixels, size = decode(save(tmp_path / f"x.{suffix}", picture))
        height, width = pixels.shape[:2]
        assert size == (200, 400)
        assert 4_000 <= height * width <= 10_000
        assert abs(width / height - 2) < 0.1
        assert near(pixels[:, : width // 2 - 8], RED)
        assert near(pixels[:, width // 2 + 8 :], (0, 0, 255))

    def test_a_picture_over_the_limit_is_refused_unless_it_is_a_jpeg(self, tmp_path, monkeypatch):
        monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
        monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 50_000)
        picture = plain((400, 200))
        with pytest.raises(UnreadableImage, match=r"too large.*400x200"):
            decode(save(tmp_path / "x.png", picture))
        assert decode(save(tmp_path / "x.jpg", picture))[1] == (200, 400)

    def test_a_decompression_bomb(self, tmp_path):
        def chunk(kind, data):
            checksum = zlib.crc32(kind + data)
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

        header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        bomb += chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        path = tmp_path / "x.png"
        path.write_bytes(bomb)
        with pytest.raises(UnreadableImage, match="too large"):
            decode(path)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
    @pytest.mark.parametrize("share", [0.02, 0.5])
    def test_a_truncated_file(self, tmp_path, suffix, share):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = io.BytesIO()
        Pillow.fromarray(noise).save(whole, {"jpg": "jpeg"}.get(suffix, suffix))
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
        with pytest.raises(UnreadableImage) as caught:
            decode(path)
        assert caught.value.reason

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"<html>404 not found</html>", "not a picture"),
            (b"\xff\xd8\xff\xe0", "."),
        ],
    )
    def test_what_is_no_picture(self, tmp_path, content, reason):
        path = tmp_path / "x.jpg"
        path.write_bytes(content)
        with pytest.raises(UnreadableImage, match=reason):
            decode(path)

    def test_a_file_that_is_gone(self, tmp_path):
        with pytest.raises(UnreadableImage, match="No such file"):
            decode(tmp_path / "x.jpg")


class TestToEightBits:
    def test_sixteen_bits_span_the_range(self):
        values = np.array([[0, 257, 65535]], np.uint16)
        assert to_eight_bits(values).tolist() == [[0, 1, 255]]

    def test_thirty_two_bits_are_stretched(self):
        values = np.array([[-1000, 0, 1_000_000]], np.int32)
        assert to_eight_bits(values).tolist() == [[0, 0, 255]]

    def test_floats(self):
        assert to_eight_bits(np.array([[0.0, 1.0]], np.float32)).tolist() == [[0, 255]]
        assert to_eight_bits(np.array([[0.0, 200.0]], np.float32)).tolist() == [[0, 200]]
        assert to_eight_bits(np.array([[-2.0, 2.0]], np.float32)).tolist() == [[0, 255]]
        assert to_eight_bits(np.array([[np.nan, 1.0]], np.float32)).tolist() == [[0, 255]]

    def test_one_value_everywhere(self):
        assert to_eight_bits(np.full((1, 2), 1e6, np.float32)).tolist() == [[0, 0]]


def test_an_id_leads_back_to_its_file(tmp_path):
    for name in ("one/same.png", "two/same.png", "one/deep/x.png", "two/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    folders = [tmp_path / "one", tmp_path / "two"]
    for image, path in list_images(folders):
        assert locate_image(folders, image) == path
    (tmp_path / "secret.png").write_bytes(b"")
    for wrong in ("../secret.png", str(tmp_path / "secret.png"), "gone.png", ""):
        assert locate_image(folders, wrong) is None
