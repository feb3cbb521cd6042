"""Stands before the real one on the workers' path; what it does goes by the file's name.

Files of other names it does not know, so that tifffile opens them.
"""

import os
import signal
import time

from PIL import Image


class OpenSlideError(Exception):
    pass


class OpenSlideUnsupportedFormatError(OpenSlideError):
    pass


class OpenSlide:
    def __init__(self, path):
        name = os.path.basename(path)
        if name.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("hang"):
            time.sleep(600)
        if not name.startswith("late"):
            raise OpenSlideUnsupportedFormatError
        self.reads = 0
        self.level_dimensions, self.level_downsamples = ((1000, 1000),), (1.0,)
        self.properties = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}

    def read_region(self, location, level, size):
        self.reads += 1
        if self.reads == 4:  # in the midst of the patches, not in the survey
            os.kill(os.getpid(), signal.SIGSEGV)
        noise = Image.effect_noise(size, 80).convert("RGB")
        return Image.blend(noise, Image.new("RGB", size, (200, 60, 160)), 0.5).convert("RGBA")

    def close(self):
        pass
