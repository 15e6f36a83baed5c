"""What the build adds to the package: NiiVue, the viewer of the review page, in one pinned version.

Where the npm registry cannot be reached, everything else is built all the same, and `contour review` says what it
lacks; CONTOUR_VIEWER=required makes that an error, as a release needs it. Content other than the pinned one always is.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ViewerHook(BuildHookInterface):  # type: ignore[type-arg]  # subscripting it fails in older hatchlings
    """Fetches the viewer before the files of a wheel are gathered; an editable install finds it in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the viewer where the wheel takes it from.

        Raises:
            ConfigError: the registry gave something else.
            OSError: it could not be reached, and the viewer is required.
        """
        sys.path.insert(0, self.root)
        try:
            from contour.services.review import viewer  # noqa: PLC0415 - the checkout is on the path only now
        finally:
            sys.path.remove(self.root)
        try:
            viewer.pack(Path(self.root) / "contour" / "services" / "review" / "vendor")
        except OSError as error:
            if os.environ.get("CONTOUR_VIEWER") == "required":
                raise
            self.app.display_warning(f"contour review has no viewer: {viewer.ARCHIVE} could not be fetched ({error})")
