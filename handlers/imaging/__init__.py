"""Safe decode, encode and colour of pictures: the only place that opens untrusted image bytes.

    setup(config)                              once a process, before the first picture
    source = read_header(data, config)         format, size and caps, before a pixel is decoded
    source.check_result(width, height, config) whether a picture of that size may be made from it
    image = source.decode()                    a `pyvips.Image` in memory, upright
    output = save(image, source.encoding, "name", box)

Importing this loads libvips: import it from a `handler.py`, never from a `params.py`.
"""

from handlers.imaging.encode import Encoding, save
from handlers.imaging.formats import Format
from handlers.imaging.guard import setup
from handlers.imaging.scratch import ScratchPicture
from handlers.imaging.source import Source, read_header

__all__ = ["Encoding", "Format", "ScratchPicture", "Source", "read_header", "save", "setup"]
