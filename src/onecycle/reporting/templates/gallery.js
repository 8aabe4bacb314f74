// The gallery: a class, a pair of classes or all of them, some at a time.
{
  const list = document.querySelector(".cards[data-width], #gallery .cards:not(.label-errors)");
  const names = document.getElementById("classes");
  if (list && names) {
    const STEP = 24;
    const { names: classes, counts } = JSON.parse(names.textContent);
    const cards = [...list.children];
    const form = document.querySelector(".controls");
    const choices = { true: form.elements.true, predicted: form.elements.predicted };
    const clear = form.querySelector(".clear");
    const more = document.querySelector(".more button");
    const status = document.querySelector(".status");
    const openers = [...document.querySelectorAll("#failures button[data-true]")];
    let limit = STEP;
    let opener = null;

    // How many of the choice there are, of which the page may hold fewer; null where it was not told.
    const inAll = () => {
      if (!counts.length) return null;
      let sum = 0;
      for (let at = 0; at < counts.length; at += 3) {
        const [is, said] = [String(counts[at]), String(counts[at + 1])];
        if ([is, ""].includes(choices.true.value) && [said, ""].includes(choices.predicted.value)) sum += counts[at + 2];
      }
      return sum;
    };

    const chosen = (card) => ["true", "predicted"].every((key) =>
      choices[key].value === "" || card.dataset[key] === choices[key].value);

    const words = (count) => {
      const is = choices.true.value && classes[choices.true.value];
      const said = choices.predicted.value && classes[choices.predicted.value];
      const whole = inAll() ?? count;
      const number = whole > count ? `${count.toLocaleString("en")} of the ${whole.toLocaleString("en")}` : whole;
      const images = `${number} wrong ${whole === 1 ? "image" : "images"}`;
      if (is && said) return `${images}: ${is} taken for ${said}`;
      if (is) return `${images} of ${is}`;
      return said ? `${images} taken for ${said}` : images;
    };

    const show = () => {
      const matching = cards.filter(chosen);
      const shown = new Set(matching.slice(0, limit));
      cards.forEach((card) => { card.hidden = !shown.has(card); });
      const rest = matching.length - shown.size;
      more.hidden = rest === 0;
      more.textContent = `Show ${Math.min(rest, STEP)} more`;
      clear.hidden = choices.true.value === "" && choices.predicted.value === "";
      status.textContent = words(matching.length) + (rest ? `, the first ${shown.size} shown.` : ".");
      for (const button of openers) {
        const same = ["true", "predicted"].every((key) => (button.dataset[key] ?? "") === choices[key].value);
        if (button.closest(".matrix")) button.setAttribute("aria-pressed", same);
      }
      list.dispatchEvent(new Event("shown"));
    };

    const filter = (is, said) => {
      choices.true.value = is;
      choices.predicted.value = said;
      limit = STEP;
      show();
    };

    for (const key of ["true", "predicted"]) {
      const told = [...cards, ...openers].map((one) => one.dataset[key]).filter((one) => one !== undefined);
      const present = [...new Set(told.map(Number))].sort((a, b) => a - b);
      choices[key].append(...present.map((one) => new Option(classes[one], one)));
      choices[key].addEventListener("change", () => { opener = null; limit = STEP; show(); });
    }
    for (const button of openers) {
      button.addEventListener("click", () => {
        opener = button;
        filter(button.dataset.true, button.dataset.predicted ?? "");
        const title = document.getElementById("gallery-title");
        title.scrollIntoView();
        title.focus({ preventScroll: true });
      });
    }
    clear.addEventListener("click", () => {
      filter("", "");
      (opener ?? choices.true).focus({ preventScroll: opener === null });
      opener = null;
    });
    more.addEventListener("click", () => { limit += STEP; show(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.reset();
    show();
  }
}
