"""What programs ask: POST /predict with an image, GET /health."""

from __future__ import annotations

from typing import Any, Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..data.decode import BadImage
from .inference import Inference
from .limits import FAULT

MOST_CLASSES: Final = 10
_FORM: Final = "the body is the image's file itself, such as: curl --data-binary @photo.jpg ADDRESS/predict"


def routes(inference: Inference) -> list[Any]:
    """The routes, for Starlette."""
    most = min(MOST_CLASSES, len(inference.classes))

    async def health(request: Request) -> JSONResponse:
        """What is served."""
        recipe = inference.run.recipe
        about = {"recipe": recipe.name, "data": recipe.data.label, "image_size": inference.side}
        return JSONResponse({"status": "ok", **about, "classes": len(inference.classes)})

    async def predict(request: Request) -> JSONResponse:
        """The most probable classes of one image."""
        top = request.query_params.get("top_k", str(min(3, most)))
        if not (top.isascii() and top.isdecimal() and len(top) <= 2 and 1 <= int(top) <= most):
            return _error(400, f"top_k {top[:20]!r} is not allowed; 1 to {most}")
        unknown = sorted(set(request.query_params) - {"top_k"})
        if unknown:
            return _error(400, f"{unknown[0][:20]!r} is unknown; top_k is what can be asked for")
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            return _error(415, f"a form is not taken; {_FORM}")
        content = await request.body()
        if not content:
            return _error(400, f"nothing was sent; {_FORM}")
        try:
            seen = await to_thread.run_sync(inference.see, content)
        except BadImage as error:
            return _error(400, str(error))
        (ranked,) = seen.predictions.top(int(top))
        found = [{"name": one.name, "label": one.label, "probability": one.probability} for one in ranked]
        return JSONResponse({"classes": found})

    return [Route("/health", health), Route("/predict", predict, methods=["POST"])]


async def fault(request: Request, error: Exception) -> JSONResponse:
    """The answer to what should not have happened; nothing of it is told."""
    return _error(500, FAULT)


def _error(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status_code=status)
