// The grid: only the rows in sight exist, and their pages are asked for when they are.

import { thumbnail } from "./api.js";
import { STATUS, make, named, percent, said, shown } from "./words.js";

const PAGE = 100;
const WIDTH = 148;
const HEIGHT = 208;

export class Grid {
  // ``store`` has run, list, item(number), load(page), queue; ``open`` is called with a position.
  constructor(scroller, spacer, store, open) {
    Object.assign(this, { scroller, spacer, store, open, cells: new Map(), columns: 1, at: 0 });
    scroller.addEventListener("scroll", () => this.soon());
    store.addEventListener("again", () => this.soon());
    new ResizeObserver(() => this.soon()).observe(scroller);
  }

  reset() {
    this.cells.clear();
    this.spacer.replaceChildren();
    this.at = 0;
    this.scroller.scrollTop = 0;
    this.render();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.render(); });
  }

  render() {
    const list = this.store.list, width = this.spacer.clientWidth;
    if (!list || width === 0) return;
    const columns = Math.max(1, Math.floor(width / WIDTH));
    if (columns !== this.columns) {
      this.columns = columns;
      this.cells.clear();
      this.spacer.replaceChildren();
    }
    this.spacer.style.height = Math.ceil(list.total / columns) * HEIGHT + "px";
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / HEIGHT) - 1) * columns;
    const rows = Math.ceil(this.scroller.clientHeight / HEIGHT) + 3;
    const end = Math.min(list.total, first + rows * columns);
    for (const [position, cell] of this.cells) {
      if (position < first || position >= end) { cell.remove(); this.cells.delete(position); }
    }
    for (let position = first; position < end; position += 1) this.place(position, width / columns);
    for (let page = Math.floor(first / PAGE); page * PAGE < end; page += 1) {
      if (!list.pages.has(page)) this.store.load(page).then(() => this.soon(), () => {});
    }
  }

  place(position, width) {
    const item = this.store.at(position);
    let cell = this.cells.get(position);
    const stamp = item ? `${item.number}.${item.version}.${this.store.queue.pending(item.number)}` : "";
    if (!cell || cell.dataset.stamp !== stamp) {
      const made = item ? this.cell(item, position) : make("div", { class: "cell waiting", "aria-hidden": "true" });
      made.dataset.stamp = stamp;
      if (cell) {
        const held = document.activeElement === cell;
        cell.replaceWith(made);
        if (held) made.focus({ preventScroll: true });
      } else {
        this.spacer.append(made);
      }
      this.cells.set(position, made);
      cell = made;
    }
    cell.style.left = (position % this.columns) * width + "px";
    cell.style.top = Math.floor(position / this.columns) * HEIGHT + "px";
    cell.style.width = width - 10 + "px";
    cell.classList.toggle("current", position === this.at);
    cell.tabIndex = position === this.at ? 0 : -1;
  }

  cell(item, position) {
    const { run } = this.store;
    const pending = this.store.queue.pending(item.number);
    const image = make("img", { alt: "", decoding: "async", draggable: "false", fetchpriority: "low" });
    image.addEventListener("error", () => image.replaceWith(make("span", { class: "gone" }, "no picture")));
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 96));
    image.src = thumbnail(run.round, item, run.task !== "classification");
    const label = item.members && item.members.length !== 1 ? things(item, run) : className(item.label, run);
    const status = pending ? "saving" : item.status;
    const spoken = [shown(item.name), label.textContent, percent(item.confidence), STATUS[item.status], said(item)];
    return make("button", {
      type: "button", role: "listitem", class: `cell ${status}`, "data-position": position,
      "aria-label": spoken.filter(Boolean).join(", "), title: shown(item.name),
      onclick: () => { this.at = position; this.open(position); },
    },
    make("span", { class: "thumb" }, image),
    make("span", { class: "what" }, label, make("span", { class: "sure" }, item.status === "given" ? "" : percent(item.confidence))),
    make("span", { class: "how" }, pending ? "saving …" : said(item, true) || STATUS[item.status]),
    make("span", { class: "file" }, named(item.name)));
  }

  go(position, focus = true) {
    const list = this.store.list;
    if (!list || list.total === 0) return;
    this.at = Math.min(list.total - 1, Math.max(0, position));
    const top = Math.floor(this.at / this.columns) * HEIGHT;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    const bottom = top + HEIGHT - this.scroller.clientHeight;
    if (bottom > this.scroller.scrollTop) this.scroller.scrollTop = bottom;
    this.render();
    if (focus) this.cells.get(this.at)?.focus({ preventScroll: true });
  }
}

export function className(label, run) {
  return label < 0 ? make("span", { class: "none" }, "no class") : named(run.classes[label]);
}

function things(item, run) {
  const names = [...new Set(item.members)].filter((label) => label >= 0).map((label) => shown(run.classes[label]));
  if (run.task === "segmentation") return named(names.slice(0, 4).join(", ") || "nothing");
  const count = item.members.length;
  return make("span", {}, count === 0 ? "no box" : `${count} boxes`);
}
