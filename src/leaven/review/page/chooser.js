// A dialog to choose a class by typing a part of its name.

import { named } from "./words.js";

const MOST = 50;

export function choose(classes, take) {
  const [dialog, text, list] = ["chooser", "chooser-text", "chooser-list"].map((id) => document.getElementById(id));
  let found = [], at = 0;
  const mark = () => [...list.children].forEach((row, place) => {
    row.setAttribute("aria-selected", String(place === at));
    if (place !== at) return;
    row.scrollIntoView({ block: "nearest" });
    text.setAttribute("aria-activedescendant", row.id);
  });
  const done = (label) => {
    dialog.close();
    if (label !== undefined) take(label);
  };
  const fill = () => {
    found = matching(classes, text.value.toLowerCase());
    at = 0;
    list.replaceChildren(...found.map((label, place) => {
      const row = named(classes[label], "li");
      row.id = `choice-${place}`;
      row.setAttribute("role", "option");
      row.addEventListener("click", () => done(label));
      return row;
    }));
    mark();
  };
  text.value = "";
  text.oninput = fill;
  text.onkeydown = (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      at = Math.min(found.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)));
      mark();
      event.preventDefault();
    } else if (event.key === "Enter") {
      done(found[at]);
      event.preventDefault();
    }
  };
  fill();
  dialog.showModal();
  text.focus();
}

// The classes with that text in their names: the same name first, then those that begin with it.
function matching(classes, wanted) {
  const rank = (name) => (name === wanted ? 0 : name.startsWith(wanted) ? 1 : 2);
  return classes.map((name, label) => [name.toLowerCase(), label])
    .filter(([name]) => name.includes(wanted))
    .sort((a, b) => rank(a[0]) - rank(b[0]) || a[1] - b[1])
    .slice(0, MOST).map(([, label]) => label);
}
