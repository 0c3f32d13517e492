"use strict";
for (const figure of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(figure.dataset.chart);
  const plot = figure.querySelector(".plot");
  const share = (value, [low, high]) => (value - low) / (high - low);
  const show = (value) =>
    chart.percent ? (100 * value).toFixed(1) + "%" : String(Number(value.toPrecision(4)));
  const part = (name, parent, text) => {
    const element = document.createElement("span");
    element.className = name;
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const rule = part("rule", plot);
  const popup = part("popup", plot);
  const nearest = (points, x) =>
    points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));

  const leave = () => plot.classList.remove("live");
  const move = (event) => {
    const box = plot.getBoundingClientRect();
    const across = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const x = chart.x[0] + across * (chart.x[1] - chart.x[0]);
    const found = chart.lines.map((line) => ({ ...line, point: nearest(line.points, x) }));
    const at = found.reduce((best, line) =>
      Math.abs(line.point[0] - x) < Math.abs(best.point[0] - x) ? line : best).point[0];
    const left = share(at, chart.x);
    for (const dot of plot.querySelectorAll(".dot")) dot.remove();
    popup.replaceChildren();
    part("at", popup, chart.name + " " + Math.round(at));
    for (const line of found) {
      const row = part("row c" + line.colour, popup);
      part("key", row);
      part("what", row, line.name);
      part("value", row, show(line.point[1]));
      const dot = part("dot c" + line.colour, plot);
      dot.style.left = 100 * share(line.point[0], chart.x) + "%";
      dot.style.top = 100 * (1 - share(line.point[1], chart.y)) + "%";
    }
    rule.style.left = 100 * left + "%";
    popup.style.left = left < 0.5 ? 100 * left + "%" : "auto";
    popup.style.right = left < 0.5 ? "auto" : 100 * (1 - left) + "%";
    plot.classList.add("live");
  };
  plot.addEventListener("pointermove", move);
  plot.addEventListener("pointerdown", move);
  plot.addEventListener("pointerleave", leave);
}
