"""Memory of temporaries, kept between batches."""

from typing import Final

import numpy as np

_LARGEST_RAISE_BYTES: Final = (32 << 20) - (64 << 10)


def keep_freed_memory() -> None:
    """Let the allocator keep up to 64 MiB of freed memory for the next array instead of returning it to the system.

    Without it each batch takes its memory from the system anew, page by page: a fifth of the processor time.
    """
    # glibc raises its limit for returning memory to twice the largest block (below 32 MiB) that was mapped on its own
    # and freed. The block is never touched, so that it costs no memory; other allocators do not mind.
    np.empty(_LARGEST_RAISE_BYTES, dtype=np.uint8)
