"""What people look at: figures and pages."""

import os

from semilla.data.store import cache_folder

# matplotlib keeps a list of fonts: with the rest of what can be made again, and not in the user's home.
os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
