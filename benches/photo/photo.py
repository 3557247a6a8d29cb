"""Pillow and libvips for `cargo bench --bench photo`, and what its setup needs from them.

The first argument names the tool; a job comes as JSON on standard input, and a line of JSON is printed for each photo,
then one for the process. CPU time is what the process tells of itself (getrusage, user's and system's).
"""

import io
import json
import os
import resource
import shutil
import sys

# EXIF tags.
MAKE = 0x010F
ORIENTATION = 0x0112


def cpu_ms():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000


def peak_kb():
    # Not ru_maxrss: that one also counts what the parent had at the time of exec.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


class Pillow:
    def __init__(self):
        import PIL
        from PIL import Image, ImageCms, ImageOps, features

        self.image, self.cms, self.ops = Image, ImageCms, ImageOps
        self.srgb = ImageCms.createProfile("sRGB")
        turbo = features.version_feature("libjpeg_turbo")
        self.version = f"Pillow {PIL.__version__} (libjpeg-turbo {turbo})"

    def to_srgb(self, picture):
        profile = picture.info.get("icc_profile")
        if not profile:
            return picture
        profile = self.cms.ImageCmsProfile(io.BytesIO(profile))
        return self.cms.profileToProfile(picture, profile, self.srgb, outputMode="RGB")

    def save(self, picture, path, job):
        if job["lossless"]:
            picture.save(path, compress_level=1, icc_profile=None)
        elif job["quality"] is None:
            picture.save(path, icc_profile=None)
        else:
            picture.save(path, quality=job["quality"], icc_profile=None)

    def chain(self, file, path, job):
        """Decoded once, by the largest size's scale in the DCT; each variant of the next larger one."""
        picture = self.image.open(file)
        for i, size in enumerate(sorted(job["sizes"], reverse=True)):
            picture.thumbnail((size, size), self.image.Resampling.LANCZOS)
            if i == 0:
                picture = self.ops.exif_transpose(self.to_srgb(picture))
            self.save(picture, path(size), job)

    def each(self, file, path, job):
        """Each variant of the file, decoded by its own scale in the DCT."""
        for size in job["sizes"]:
            picture = self.image.open(file)
            picture.thumbnail((size, size), self.image.Resampling.LANCZOS)
            self.save(self.ops.exif_transpose(self.to_srgb(picture)), path(size), job)

    def full(self, file, path, job):
        """The whole picture decoded and turned once, each variant by `resize` of it."""
        whole = self.ops.exif_transpose(self.to_srgb(self.image.open(file)))
        for size in job["sizes"]:
            scale = size / max(whole.size)
            sides = tuple(max(1, round(side * scale)) for side in whole.size)
            self.save(whole.resize(sides, self.image.Resampling.LANCZOS), path(size), job)


class Vips:
    def __init__(self):
        import pyvips

        pyvips.cache_set_max(0)
        self.vips = pyvips
        version = ".".join(str(pyvips.version(i)) for i in range(3))
        self.version = f"libvips {version} (pyvips {pyvips.__version__})"

    def save(self, picture, path, job):
        if job["lossless"]:
            picture.pngsave(path, keep="none", compression=1, filter="none")
        elif job["quality"] is None:
            picture.jpegsave(path, keep="none")
        else:
            picture.jpegsave(path, keep="none", Q=job["quality"])

    def thumbnail(self, file, size):
        # Only where there is a profile: asked for otherwise, libvips converts from sRGB to sRGB, at five times the cost.
        tagged = self.vips.Image.new_from_file(file).get_typeof("icc-profile-data") != 0
        colours = {"output_profile": "srgb"} if tagged else {}
        return self.vips.Image.thumbnail(file, size, height=size, size="down", **colours)

    def each(self, file, path, job):
        """`thumbnail` of the file for each variant."""
        for size in job["sizes"]:
            self.save(self.thumbnail(file, size), path(size), job)

    def chain(self, file, path, job):
        """`thumbnail` of the file for the largest, of the next larger one for the others."""
        picture = None
        for size in sorted(job["sizes"], reverse=True):
            if picture is None:
                picture = self.thumbnail(file, size)
            else:
                picture = picture.thumbnail_image(size, height=size, size="down")
            # Otherwise every smaller one computes the larger ones again.
            picture = picture.copy_memory()
            self.save(picture, path(size), job)

    def neutral(self, file, path, job):
        """The neutral reference: the whole picture, Lanczos3 in floating point, nothing shrunk while decoding."""
        whole = self.vips.Image.new_from_file(file).autorot()
        if whole.get_typeof("icc-profile-data") != 0:
            whole = whole.icc_transform("srgb", intent="relative")
        whole = whole.cast("float").copy_memory()
        stem = os.path.splitext(os.path.basename(file))[0]
        for wide, high in job["sides"][stem]:
            small = whole.resize(wide / whole.width, vscale=high / whole.height, kernel="lanczos3", gap=0)
            if (small.width, small.height) != (wide, high):
                raise ValueError(f"{stem}: {small.width} x {small.height} instead of {wide} x {high}")
            small = small.rint().cast("uchar").copy(interpretation="srgb")
            small.pngsave(path(f"{wide}x{high}"), keep="none", compression=1)


def as_a_camera_writes(picture):
    """Baseline with halved colour resolution, not turned."""
    layers = [layer[1:3] for layer in getattr(picture, "layer", [])]
    halved = len(layers) == 3 and layers[0] in ((2, 1), (2, 2))
    return halved and not picture.info.get("progressive") and picture.getexif().get(ORIENTATION, 1) == 1


def prepare(job):
    """Makes wallpapers what a camera would have written, and leaves alone what is that already."""
    tool = Pillow()
    for photo in job["photos"]:
        picture = tool.image.open(photo["from"])
        if as_a_camera_writes(picture) and not photo["on_its_side"]:
            shutil.copyfile(photo["from"], photo["to"])
            continue
        picture = tool.to_srgb(picture).convert("RGB")
        exif = tool.image.Exif()
        exif[MAKE] = "a camera"
        if photo["on_its_side"]:
            picture = picture.transpose(tool.image.Transpose.ROTATE_90)
            exif[ORIENTATION] = 6
        picture.save(photo["to"], "JPEG", quality=92, subsampling="4:2:0", exif=exif)


def pixels():
    """Decodes the files whose names come as lines: a line of width and height, then RGB of 8 bits."""
    tool = Pillow()
    for line in sys.stdin:
        picture = tool.image.open(line.rstrip("\n")).convert("RGB")
        sys.stdout.buffer.write(f"{picture.width} {picture.height}\n".encode())
        sys.stdout.buffer.write(picture.tobytes())
        sys.stdout.buffer.flush()


def run(tool, job):
    way = getattr(tool, job["way"])
    for file in job["files"]:
        stem = os.path.splitext(os.path.basename(file))[0]
        folder = os.path.join(job["out"], stem)
        os.makedirs(folder, exist_ok=True)
        extension = "png" if job["lossless"] else "jpg"
        before = cpu_ms()
        way(file, lambda size: os.path.join(folder, f"{size}.{extension}"), job)
        print(json.dumps({"file": stem, "cpu_ms": cpu_ms() - before}), flush=True)
    print(json.dumps({"cpu_ms": cpu_ms(), "peak_kb": peak_kb(), "version": tool.version}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "pixels":
        pixels()
    elif sys.argv[1] == "prepare":
        prepare(json.load(sys.stdin))
    else:
        run({"pillow": Pillow, "vips": Vips}[sys.argv[1]](), json.load(sys.stdin))
