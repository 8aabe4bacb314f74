"""The report's colours for Gradio's components."""

from __future__ import annotations

from typing import Final

LIGHT: Final = {"ground": "#fcfcfa", "raised": "#f3f2ee", "ink": "#1c1d1f", "muted": "#64666b"} | {
    "faint": "#a4a5a8",
    "line": "#e3e2dd",
    "accent": "#0068a8",
}
DARK: Final = {"ground": "#151618", "raised": "#202225", "ink": "#e9e8e4", "muted": "#a2a3a7"} | {
    "faint": "#6a6c71",
    "line": "#303236",
    "accent": "#62b1ee",
}
_USES: Final = {
    "ground": [
        "body_background_fill",
        "background_fill_primary",
        "background_fill_secondary",
        "input_background_fill",
        "block_background_fill",
        "input_background_fill_focus",
        "panel_background_fill",
        "checkbox_label_background_fill",
        "checkbox_background_color",
        "block_label_background_fill",
        "block_title_background_fill",
        "button_secondary_background_fill",
    ],
    "ink": ["body_text_color", "checkbox_label_text_color", "button_secondary_text_color"],
    "muted": ["body_text_color_subdued", "block_title_text_color", "block_label_text_color", "block_info_text_color"],
    "line": [
        "border_color_primary",
        "input_border_color",
        "checkbox_border_color",
        "checkbox_label_border_color",
        "button_secondary_border_color",
    ],
    "faint": ["input_border_color_hover", "checkbox_border_color_hover", "button_secondary_border_color_hover"],
    "raised": [
        "checkbox_label_background_fill_hover",
        "button_secondary_background_fill_hover",
        "checkbox_label_background_fill_selected",
    ],
    "accent": [
        "slider_color",
        "input_border_color_focus",
        "checkbox_border_color_focus",
        "border_color_accent",
        "checkbox_border_color_selected",
        "checkbox_background_color_selected",
        "link_text_color",
    ],
}


def theme_settings() -> dict[str, str]:
    """Settings of a Gradio theme, for light and dark."""
    found = {
        "block_border_width": "0px",
        "input_border_width": "1px",
        "block_padding": "0px",
        "block_shadow": "none",
        "input_shadow": "none",
        "block_title_text_weight": "400",
        "block_title_text_size": "14px",
        "button_large_text_weight": "400",
        "layout_gap": "20px",
        "form_gap_width": "18px",
        "checkbox_label_shadow": "none",
        "button_secondary_shadow": "none",
    }
    for token, names in _USES.items():
        for name in names:
            found |= {name: LIGHT[token], f"{name}_dark": DARK[token]}
    return found
