"""Run as a program: adds sightings, and erases some, and says so as soon as it is acknowledged."""

import sys

from made_up import sightings, unit_rows

from adln.gallery.sqlite_gallery import SqliteGallery


def main(folder: str) -> None:
    gallery = SqliteGallery(folder, create=True)
    number = 0
    while True:
        ids = gallery.add(sightings(unit_rows(5, seed=number)))
        sys.stdout.write(f"added {number} {' '.join(map(str, ids))}\n")
        sys.stdout.flush()
        if number % 3 == 2:
            gallery.delete([ids[0]])
            sys.stdout.write(f"erased {number} {ids[0]}\n")
            sys.stdout.flush()
        number += 1


main(sys.argv[1])
