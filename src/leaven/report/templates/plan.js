"use strict";
// GPU-days = steps * batch / (pictures per second * 86400), again whenever a number is changed.
(() => {
  const rows = document.querySelector("#stages");
  const all = (name) => document.querySelectorAll(`[data-sum="${name}"]`);
  const say = (name, text) => all(name).forEach((place) => { place.textContent = text; });
  const number = (input) => (input.value.trim() && input.checkValidity() ? Number(input.value) : NaN);
  const told = (value) => Number.isFinite(value)
    ? value.toLocaleString("en", value < 1 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 1 })
    : "–";

  function compute() {
    let days = 0, pictures = 0;
    for (const row of rows.rows) {
      const [steps, batch, rate] = [...row.querySelectorAll("input[type=number]")].map(number);
      const seen = steps * batch, taken = seen / (rate * 86400);
      row.querySelector(".seen").textContent = told(seen / 1e6);
      row.querySelector(".days").textContent = told(taken);
      if (!Number.isFinite(taken)) continue; // not all is said of this stage yet
      days += taken;
      pictures += seen;
    }
    const gpus = number(document.querySelector("#gpus"));
    const price = number(document.querySelector("#price"));
    say("days", told(days));
    say("pictures", told(pictures / 1e6));
    say("wall", told(days / gpus));
    say("cost", told(24 * price * days));
  }

  document.addEventListener("input", compute);
  document.querySelector("#add").addEventListener("click", () => {
    rows.append(document.querySelector("#row").content.cloneNode(true));
    compute();
  });
  rows.addEventListener("click", (event) => {
    if (event.target.matches("button.remove")) {
      event.target.closest("tr").remove();
      compute();
    }
  });
  compute();
})();
