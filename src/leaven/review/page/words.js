// Text and elements. Names come from anywhere: they are only ever set as text.

export const STATUS = {
  needs: "needs a person", accepted: "accepted", given: "given", corrected: "corrected", skipped: "skipped",
};

export function make(kind, attributes = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// What is not printable is shown as an escape, so that no name hides or turns what it is.
export function shown(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (letter) => "\\u" + letter.codePointAt(0).toString(16).padStart(4, "0"));
}

export function named(text, kind = "span") {
  const element = make(kind, { class: "name", dir: "auto" });
  element.textContent = shown(text);
  return element;
}

export const percent = (share) => (100 * share).toFixed(share > 0 && share < 1 ? 1 : 0) + " %";
export const many = (count) => count.toLocaleString("en");
export const key = (text) => make("kbd", {}, text);

// The class that each key stands for: of few classes always the same, of many the likely ones.
export function classKeys(classes, candidates = []) {
  const keys = new Map();
  if (classes.length <= 10 && classes.every((name) => /^[0-9]$/.test(name))) {
    classes.forEach((name, number) => keys.set(name, number));
  } else if (classes.length <= 10) {
    classes.forEach((_, number) => keys.set(String((number + 1) % 10), number));
  } else {
    candidates.slice(0, 9).forEach(([number], place) => keys.set(String(place + 1), number));
  }
  return keys;
}

// What was said of an item; ``briefly`` without when and by whom.
export function said(item, briefly = false) {
  const one = item.said;
  if (!one) return "";
  const at = new Date(one.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const what = { accept: "accepted", reject: "rejected", relabel: "corrected", skip: "skipped" }[one.action];
  const to = one.action === "relabel" && one.label !== null ? ` to ${shown(one.label)}` : "";
  if (briefly) return what + to;
  return `${what}${to} at ${at}${one.by === "review" ? "" : " by " + shown(one.by)}`;
}
