"""What a copy of a gallery in a folder takes over from it, besides people and sightings."""

from collections.abc import Collection, Mapping

from adln.arguments import checked
from adln.errors import GalleryError
from adln.gallery.compared import ComparedGallery
from adln.gallery.records import ModelKey
from adln.gallery.suppression import read_templates, write_templates


@checked(GalleryError)
class CopiedGallery(ComparedGallery):
    """The part of `SqliteGallery` that keeps the forgotten out of copies, too."""

    def take_over(
        self, source: "CopiedGallery", person_ids: Mapping[int, int], models: Collection[ModelKey]
    ) -> int:
        """Take over barred and former names, and templates of the forgotten.

        Args:
            source: the gallery that was copied to this one.
            person_ids: number there -> number here.
            models: networks there whose templates are comparable here.

        Returns:
            The number of templates left out.
        """
        with source._reading():
            templates = read_templates(source._connection, source._index.models)
            fitting = [one for one in templates if one[0] in models]
            with self._writing("take_over", {"templates": len(fitting)}):
                self._people.take_names(source._people, person_ids)
                if fitting:
                    numbers = self._take_models(list(dict.fromkeys(one[0] for one in fitting)))
                    write_templates(self._connection, numbers, fitting)
        return len(templates) - len(fitting)
