// Readings of charts: the values at the pointer, or at the arrow keys, in every chart of the same group.
{
  const svgElement = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const nearest = (readings, key, value) => {
    let best = 0;
    readings.forEach((reading, index) => {
      if (Math.abs(reading[key] - value) < Math.abs(readings[best][key] - value)) best = index;
    });
    return best;
  };

  const makeChart = (figure) => {
    const { readings, top, bottom, first, last } = JSON.parse(figure.querySelector("script").textContent);
    if (!readings.length) return null;
    const svg = figure.querySelector("svg");
    const text = figure.querySelector(".reading");
    const reader = document.createElement("div");
    reader.className = "reader";
    reader.tabIndex = 0;
    const values = { role: "slider", "aria-label": `${figure.getAttribute("aria-label")}: values`, "aria-valuemin": 0 };
    for (const [key, value] of Object.entries(values)) reader.setAttribute(key, value);
    reader.setAttribute("aria-valuemax", readings.length - 1);
    figure.querySelector(".plot").append(reader);
    const marks = svgElement("g", { "aria-hidden": "true" });
    svg.append(marks);
    let now = readings.length - 1;

    const show = (index) => {
      now = index;
      const reading = readings[index];
      text.textContent = reading.text;
      reader.setAttribute("aria-valuenow", index);
      reader.setAttribute("aria-valuetext", reading.text);
      const line = { x1: reading.at, x2: reading.at, y1: top, y2: bottom, style: "stroke: var(--faint); stroke-width: 1" };
      const dots = reading.dots.map(([y, colour]) =>
        svgElement("circle", { cx: reading.at, cy: y, r: 3.5, style: `fill: var(--${colour}); stroke: var(--ground)` }));
      marks.replaceChildren(svgElement("line", line), ...dots);
    };
    const clear = () => { marks.replaceChildren(); text.textContent = ""; };
    const showValue = (value) => value < first || value > last ? clear() : show(nearest(readings, "x", value));
    const chart = { group: figure.dataset.group, show, clear, showValue, value: () => readings[now].x };
    reader.setAttribute("aria-valuenow", now);
    reader.setAttribute("aria-valuetext", readings[now].text);

    reader.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      show(nearest(readings, "at", at));
      follow(chart);
    });
    reader.addEventListener("pointerleave", () => together(chart).forEach((one) => one.clear()));
    reader.addEventListener("focus", () => { show(now); follow(chart); });
    reader.addEventListener("blur", () => together(chart).forEach((one) => one.clear()));
    reader.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(Math.min(Math.max(now + step, 0), readings.length - 1));
      follow(chart);
    });
    return chart;
  };

  const charts = [...document.querySelectorAll(".chart")].map(makeChart).filter(Boolean);
  const together = (chart) => chart.group ? charts.filter((one) => one.group === chart.group) : [chart];
  const follow = (chart) => together(chart).forEach((one) => one !== chart && one.showValue(chart.value()));
}
