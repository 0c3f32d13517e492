// What is listed, and in which order: the form above the grid.

import { STATUS, make, shown } from "./words.js";

// Fills the choices of a run, and takes what was chosen before ``from`` the address.
export function fillFilters(form, run, from) {
  for (const sort of run.sorts) {
    form.sort.append(make("option", { value: sort.name, disabled: Boolean(sort.missing), title: sort.missing }, sort.title + (sort.missing ? ` (${sort.missing})` : "")));
  }
  form.label.append(make("option", { value: "" }, "all"));
  run.classes.forEach((name, number) => {
    const option = make("option", { value: number });
    option.textContent = shown(name);
    form.label.append(option);
  });
  form.label.append(make("option", { value: "-1" }, "none"));
  for (const [name, text] of Object.entries(STATUS)) {
    form.querySelector("#statuses").append(make("label", { class: `chip ${name}` }, make("input", { type: "checkbox", name: "status", value: name }), `${text} `, make("b", { id: `count-${name}` })));
  }
  form.sort.value = run.sorts.some((sort) => sort.name === from.get("sort") && !sort.missing) ? from.get("sort") : "doubt";
  form.reverse.checked = from.get("reverse") === "true";
  form.label.value = from.get("label") || "";
  form.search.value = from.get("search") || "";
  for (const end of ["low", "high"]) if (from.has(end)) form[end].value = Math.round(100 * Number(from.get(end)));
  for (const box of form.elements.status) box.checked = from.getAll("status").includes(box.value);
}

// What is chosen, as the parameters of a request.
export function asked(form) {
  const query = new URLSearchParams();
  query.set("sort", form.sort.value);
  if (form.reverse.checked) query.set("reverse", "true");
  if (form.label.value !== "") query.set("label", form.label.value);
  for (const box of form.elements.status) if (box.checked) query.append("status", box.value);
  const share = (text, otherwise) => (text === "" ? otherwise : Math.min(1, Math.max(0, Number(text) / 100)));
  const low = share(form.low.value, 0), high = share(form.high.value, 1);
  if (low > 0) query.set("low", low);
  if (high < 1) query.set("high", high);
  if (form.search.value) query.set("search", form.search.value);
  return query;
}
