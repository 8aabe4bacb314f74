// Class activation maps: small grids, interpolated and coloured by inferno, laid over the images that are shown.
{
  const list = document.querySelector(".cards[data-width]");
  if (list) {
    const SIZE = 96;
    const height = Number(list.dataset.height);
    const width = Number(list.dataset.width);
    const form = document.querySelector(".controls");
    // Inferno at nine places, https://bids.github.io/colormap/; straight lines between them.
    const INFERNO = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
      [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
    const colours = Array.from({ length: 256 }, (_, value) => {
      const place = value / 255 * (INFERNO.length - 1);
      const low = Math.min(Math.floor(place), INFERNO.length - 2);
      return INFERNO[low].map((one, channel) => one + (INFERNO[low + 1][channel] - one) * (place - low));
    });

    // For each pixel of `size`: the two nearest of `cells`, whose centres are compared, and how far it is to the second.
    const neighbours = (size, cells) => Array.from({ length: size }, (_, pixel) => {
      const place = Math.min(Math.max((pixel + 0.5) / size * cells - 0.5, 0), cells - 1);
      const first = Math.floor(place);
      return [first, Math.min(first + 1, cells - 1), place - first];
    });
    const across = neighbours(SIZE, width);
    const down = neighbours(SIZE, height);

    const paint = (canvas, packed) => {
      const map = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
      const context = canvas.getContext("2d");
      const image = context.createImageData(SIZE, SIZE);
      let at = 0;
      for (const [top, bottom, below] of down) {
        for (const [left, right, beside] of across) {
          const upper = map[top * width + left] * (1 - beside) + map[top * width + right] * beside;
          const lower = map[bottom * width + left] * (1 - beside) + map[bottom * width + right] * beside;
          const [red, green, blue] = colours[Math.round(upper * (1 - below) + lower * below)];
          image.data.set([red, green, blue, 255], at);
          at += 4;
        }
      }
      context.putImageData(image, 0, 0);
    };

    const update = () => {
      const which = form.elements.map.value;
      list.style.setProperty("--opacity", form.elements.opacity.value / 100);
      form.querySelector(".opacity").hidden = which === "";
      for (const card of list.children) {
        if (card.hidden) continue;
        let canvas = card.querySelector("canvas");
        if (which === "") {
          canvas?.remove();
          continue;
        }
        if (!canvas) {
          canvas = document.createElement("canvas");
          canvas.width = canvas.height = SIZE;
          canvas.setAttribute("aria-hidden", "true");
          card.querySelector(".image").append(canvas);
        }
        if (canvas.dataset.which !== which) paint(canvas, card.dataset.maps.split(",")[which]);
        canvas.dataset.which = which;
      }
    };

    form.addEventListener("input", update);
    list.addEventListener("shown", update);
    update();
  }
}
