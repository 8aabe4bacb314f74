"""The command line: what is asked for is handed to `onecycle.api`. Whatever is slow to import waits for its command.

`app` is the tree of commands; each module below adds its own, in the order of the help page.
"""

from . import training, studies, searching, inspection, using, serving, catalogue  # isort: skip
from .app import app, data_app, models_app, recipes_app
from .main import main

app.add_typer(recipes_app, name="recipes")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")

__all__ = ["app", "catalogue", "inspection", "main", "searching", "serving", "studies", "training", "using"]
