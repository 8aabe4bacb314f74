// The confusion matrix: one stop for the tab key, arrow keys from cell to cell, a line that reads the cell.
{
  const matrix = document.querySelector(".matrix");
  if (matrix) {
    const rows = [...matrix.tBodies[0].rows].map((row) => [...row.cells].slice(1));
    const buttons = [...matrix.querySelectorAll("button")];
    const reading = document.querySelector(".cell-reading");
    const place = (button) => {
      const row = rows.findIndex((cells) => cells.includes(button.parentElement));
      return [row, rows[row].indexOf(button.parentElement)];
    };
    const stopAt = (button) => buttons.forEach((one) => { one.tabIndex = one === button ? 0 : -1; });
    const read = (button) => { reading.textContent = button ? button.getAttribute("aria-label") : "\u00a0"; };
    // The next cell with images in that direction, past those without.
    const next = (button, down, right) => {
      let [row, column] = place(button);
      for (;;) {
        row += down;
        column += right;
        const cell = rows[row]?.[column];
        if (!cell) return button;
        const found = cell.querySelector("button");
        if (found) return found;
      }
    };
    const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

    stopAt(buttons[0]);
    for (const button of buttons) {
      button.addEventListener("pointerenter", () => read(button));
      button.addEventListener("pointerleave", () => read(null));
      button.addEventListener("focus", () => { stopAt(button); read(button); });
      button.addEventListener("blur", () => read(null));
      button.addEventListener("keydown", (event) => {
        if (!arrows[event.key]) return;
        event.preventDefault();
        next(button, ...arrows[event.key]).focus();
      });
    }
  }
}
