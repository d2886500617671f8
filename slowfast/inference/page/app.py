"""The demo page in Gradio, and the server that shows it to this machine alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.inference.page import html
from slowfast.inference.page.comparison import Comparison, Limits
from slowfast.models.flexible import Rate

if TYPE_CHECKING:
    import gradio

    from slowfast.inference.recognizer import Recognizer

TITLE = "How many frames does this video need?"
UPLOADS_KEPT = 3600  # seconds
QUEUE = 20  # visitors who may wait


def first_rates(trained: Sequence[Rate]) -> tuple[Rate, Rate, int]:
    """Where the two columns start, the cheapest and dearest rate, and where the sliders end."""
    low, high = trained[0], trained[-1]
    if low == high:
        low = Rate(max(1, high.num_frames // 2), high.size)
    return low, high, max(2 * high.num_frames, 8)


def describe(recognizer: Recognizer) -> str:
    """One line about the network: its architecture, its trained rates, its classes."""
    *most, last = [str(rate) for rate in recognizer.rates]
    rates = f"{', '.join(most)} and {last}" if most else last
    cfg, pixels = recognizer.cfg, f"frames of {recognizer.side()} pixels"
    if any(rate.size for rate in recognizer.rates):
        pixels = "frames x pixels"
    about = f"{cfg.MODEL.MODEL_NAME} trained at {rates} {pixels}, {cfg.MODEL.NUM_CLASSES} classes."
    return about + " Other counts run at the nearest rate." * bool(most)


def build_page(
    compare: Comparison, examples: Mapping[str, str | os.PathLike] | None = None
) -> gradio.Blocks:
    """The page, ready for `serve`; `examples` are videos to click on, by their names.

    Raises ValueError if Gradio is not installed.
    """
    gr = import_gradio()
    recognizer = compare.recognizer
    sizes = sorted({rate.size for rate in recognizer.rates if rate.size})
    *starts, last = first_rates(recognizer.rates)
    nothing = compare(None)
    with gr.Blocks(
        analytics_enabled=False,
        title=TITLE,
        delete_cache=(UPLOADS_KEPT, UPLOADS_KEPT),
    ) as page:
        gr.HTML(html.title(TITLE, describe(recognizer)), elem_classes="ffn-part")
        with gr.Row():
            with gr.Column(scale=2, min_width=260):
                video = _video(gr, examples or {})
            with gr.Column(scale=7, min_width=320):
                message = gr.HTML(nothing[0], elem_id="message", elem_classes="ffn-part")
                with gr.Row():
                    columns = [
                        _column(gr, side, start, last, sizes, card)
                        for side, start, card in zip("ab", starts, nothing[1:], strict=True)
                    ]
        (slider_a, size_a, card_a), (slider_b, size_b, card_b) = columns
        gr.on(
            [video.change, slider_a.change, slider_b.change, size_a.change, size_b.change],
            compare,
            [video, slider_a, slider_b, size_a, size_b],
            [message, card_a, card_b],
            trigger_mode="always_last",
            show_progress="full",
            show_progress_on=[message],
            concurrency_limit=1,
            api_visibility="private",
        )
    return page


def _video(gr: Any, examples: Mapping[str, str | os.PathLike]) -> gradio.Video:
    """The place to drop a video, above the examples."""
    video = gr.Video(label="Video", sources=["upload"], height=230, elem_id="video")
    _keep_local(gr, video)
    if examples:
        gr.Examples(
            [[str(path)] for path in examples.values()],
            [video],
            label="Examples, by their true class",
            example_labels=list(examples),
            examples_per_page=len(examples),
            api_visibility="private",
        )
    return video


def _column(
    gr: Any, side: str, start: Rate, last: int, sizes: Sequence[int], card: str
) -> tuple[gradio.Slider, gradio.Dropdown, gradio.HTML]:
    """A slider, the choice of the picture size if there is one, and the place of the result."""
    with gr.Column(min_width=300):
        slider = gr.Slider(
            1,
            last,
            start.num_frames,
            step=1,
            precision=0,
            label=f"Frames {side.upper()}",
            elem_id=f"frames-{side}",
            buttons=[],
        )
        size = gr.Dropdown(
            [(f"{size} pixels", size) for size in sizes] or [("as trained", 0)],
            value=start.size,
            label=f"Picture size {side.upper()}",
            visible=len(sizes) > 1,
        )
        return slider, size, gr.HTML(card, elem_id=f"card-{side}", elem_classes="ffn-part")


def _keep_local(gr: Any, video: gradio.Video) -> None:
    """Makes `video` refuse addresses, which Gradio would fetch for a visitor who sends one."""
    move = video.async_move_resource_to_block_cache

    async def move_local(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("addresses are not taken; upload the file", print_exception=False)
        return await move(path)

    video.async_move_resource_to_block_cache = move_local


class Guard:
    """ASGI middleware: the page loads nothing from elsewhere and fetches nothing for a visitor."""

    POLICY = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    )
    HEADERS = (
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.HEADERS]
            await send(message)

        path = scope["path"].lower()
        if "file=http" in path or "proxy=" in path:
            await send_with_headers({"type": "http.response.start", "status": 403})
            await send({"type": "http.response.body", "body": b"not served"})
            return None
        return await self.app(scope, receive, send_with_headers)


def serve(
    page: gradio.Blocks,
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 7860,
    block: bool = True,
) -> str:
    """The page's address, once it is served; with `block`, only after it is no longer.

    Nothing but uploads and examples can be read through it, and neither side asks the network for
    anything.  Raises OSError if the port is taken.
    """
    gr = import_gradio()
    from starlette.middleware import Middleware

    # Fonts of the system: those of the themes come from elsewhere.
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    theme = gr.themes.Default(primary_hue="blue", spacing_size="sm", **fonts).set(
        body_text_color_subdued="#57606a", body_text_color_subdued_dark="#b3bac4"
    )
    page.queue(max_size=QUEUE, api_open=False)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            show_error=False,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            allowed_paths=[],
            max_file_size=f"{limits.megabytes}mb",
            app_kwargs={"middleware": [Middleware(Guard)]},
            theme=theme,
            css=html.STYLE,
        )
    except OSError as error:
        raise OSError(f"port {port} of {host} cannot be used; choose another --port") from error
    print(f"serving on {address}  (Ctrl+C ends it)", flush=True)
    if block:
        page.block_thread()
    return address


def import_gradio() -> Any:
    """Gradio, told to send nothing and to keep its files in a folder of this process.

    Raises ValueError if it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ValueError(
            "the page needs Gradio, which is not installed: pip install 'slowfast-ffn[demo]'"
        ) from error
    return gradio


def private_uploads() -> tempfile.TemporaryDirectory:
    """A new folder for the uploads of this process, which nobody else may read, until its end."""
    folder = tempfile.TemporaryDirectory(prefix="slowfast-demo-")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(Path(folder.name) / "examples")
    return folder
