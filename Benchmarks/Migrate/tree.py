"""Workspaces to move: made, changed and compared. The same seed gives the same bytes."""

import math
import os
import pathlib
import random

# Sizes of files lie between these, as many in each doubling: a few large ones hold most bytes, as in real trees.
SMALLEST, LARGEST = 1 << 10, 8 << 20
POOL = 32 << 20


class Source:
    """Bytes, half of them random and half like text, which shrinks to a third."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.noise = self.random.randbytes(POOL)
        words = [self.random.randbytes(self.random.randint(1, 6)).hex() for _ in range(4000)]
        text = []
        size = 0
        while size < POOL:
            line = " ".join(self.random.choices(words, k=4000)) + "\n"
            text.append(line)
            size += len(line)
        self.text = "".join(text).encode()[:POOL]

    def take(self, count):
        pool = self.random.choice((self.noise, self.text))
        start = self.random.randrange(POOL - min(count, POOL) + 1)
        return pool[start:start + count]


def make(folder, wanted, seed):
    """Fills a folder. `wanted` is bytes, or a number of files of one size. Returns how many files and bytes there are."""
    source = Source(seed)
    files = total = 0
    sizes = [wanted[1]] * wanted[0] if isinstance(wanted, tuple) else None
    while (files < len(sizes)) if sizes else (total < wanted):
        if files % 100 == 0:
            # Not all in one place: directories within directories.
            place = folder / f"d{files // 10000}" / f"e{files // 1000}" / f"f{files // 100}"
            place.mkdir(parents=True)
        size = sizes[files] if sizes else min(wanted - total, int(math.exp(source.random.uniform(math.log(SMALLEST),
                                                                                              math.log(LARGEST)))))
        (place / f"file-{files}").write_bytes(source.take(size))
        files += 1
        total += size
    return files, total


def change(folder, share, seed):
    """Writes files anew, picked at random, until they hold this share of the bytes. Returns their paths and bytes."""
    source = Source(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    left = sum(path.stat().st_size for path in files) * share
    source.random.shuffle(files)
    changed = []
    for path in files:
        size = path.stat().st_size
        if size > left:
            # Too much of the rest: a part of it, where it stands.
            if left < 1:
                break
            with open(path, "r+b") as file:
                file.write(source.take(int(left)))
            changed.append((path, int(left)))
            break
        path.write_bytes(source.take(size))
        changed.append((path, size))
        left -= size
    return [path for path, _ in changed], sum(size for _, size in changed)


def facts(folder):
    """What every entry is, but for its content."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(place, name)
            status = path.lstat()
            found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found
