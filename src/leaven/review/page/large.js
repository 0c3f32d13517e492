// The large view: one item, all that is known of it, and everything that can be said.

import { detail as askDetail, picture } from "./api.js";
import { Boxes } from "./boxes.js";
import { className } from "./grid.js";
import { paintMap } from "./masks.js";
import { STATUS, classKeys, key, make, many, named, percent, said } from "./words.js";

const $ = (id) => document.getElementById(id);
const AHEAD = 6;

export class Large {
  // ``say(action, more)``, ``go(step)``, ``close()`` and ``choose(then)`` are what the page does.
  constructor(store, does) {
    Object.assign(this, { store, does, zoom: 1, opacity: 0.5, masks: true, images: new Map(), detail: null });
    this.boxes = new Boxes($("boxes"), $("masks"), store.run, () => this.edited());
    this.drafts = new Map();
    new ResizeObserver(() => this.fit()).observe($("stage"));
    $("stage").addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
    this.tools();
  }

  get places() { return this.store.run.task !== "classification"; }
  get editable() { return this.places && this.store.run.task !== "segmentation"; }

  async open(number, position) {
    this.number = number;
    this.position = position;
    this.zoom = 1;
    this.detail = null;
    this.asked = -1;
    this.draw();
    const image = this.image(number);
    $("picture").replaceChildren(image);
    $("masks").hidden = $("boxes").hidden = true;
    $("unreadable").hidden = true;
    this.fit();
    const found = await askDetail(this.store.run.round, number);
    if (this.number !== number) return;
    this.show(found);
    for (const step of [1, 2]) {
      const next = this.store.at(position + step);
      if (next) this.image(next.number, step);
    }
  }

  // Shows an item as it is now; boxes that were edited and not saved stay where that is possible.
  show(found) {
    this.detail = found;
    this.store.update(found);
    if (this.editable) {
      const draft = this.drafts.get(found.number);
      $("boxes").hidden = false;
      this.boxes.open(found, draft && draft.version === found.version ? draft.things : null);
    } else if (this.places) {
      $("masks").hidden = false;
      paintMap($("masks"), found, this.store.run.colours);
    }
    this.layer();
    this.fit();
    this.draw();
  }

  image(number, step = 0) {
    let image = this.images.get(number);
    if (!image) {
      image = make("img", { alt: "", draggable: "false", fetchpriority: step === 0 ? "high" : "low" });
      image.src = picture(this.store.run.round, number);
      image.addEventListener("load", () => { if (this.number === number) this.fit(); });
      image.addEventListener("error", () => {
        image.dataset.failed = "yes";
        if (this.number === number) this.fit();
      });
      this.images.set(number, image);
      if (this.images.size > AHEAD) this.images.delete(this.images.keys().next().value);
    }
    return image;
  }

  fit() {
    const image = $("picture").firstElementChild, stage = $("stage"), sheet = $("sheet");
    if (!image || stage.clientWidth === 0) return;
    const failed = image.dataset.failed === "yes";
    $("unreadable").hidden = !failed;
    $("unreadable").textContent = "This picture cannot be read; it can still be skipped.";
    sheet.hidden = failed;
    const [height, width] = this.detail?.size || [image.naturalHeight, image.naturalWidth];
    if (!height || !width) return;
    const scale = Math.min((stage.clientWidth - 32) / width, (stage.clientHeight - 32) / height, 64) * this.zoom;
    sheet.style.width = width * scale + "px";
    sheet.style.height = height * scale + "px";
    image.classList.toggle("pixels", scale > 2);
    if (this.editable && this.detail) this.boxes.paint();
  }

  zoomBy(factor) { this.zoom = Math.min(16, Math.max(0.5, this.zoom * factor)); this.fit(); }
  layer() { $("masks").style.opacity = this.masks ? this.opacity : 0; }
  toggleMasks() { this.masks = !this.masks; this.layer(); this.tools(); }

  edited() {
    if (!this.detail) return;
    if (this.boxes.edited) this.drafts.set(this.number, { version: this.detail.version, things: this.boxes.things });
    this.draw();
    this.tools();
  }

  // Nothing is forgotten that is not seen yet.
  reset() {
    if (!this.detail) return;
    this.drafts.delete(this.number);
    this.boxes.open(this.detail);
    this.draw();
    this.tools();
  }

  // Whether accepting would say that a picture with proposals is empty, for the first time.
  asksEmpty() {
    const empty = this.editable && this.detail && this.boxes.said().length === 0 && this.detail.boxes.length > 0;
    const asks = empty && this.asked !== this.number;
    this.asked = this.number;
    return asks;
  }

  // Boxes that were edited are sent; else the accepted ones are meant.
  accept() {
    const boxes = this.editable ? this.boxes.said() : null;
    if (boxes && (this.boxes.edited || boxes.length === 0)) this.does.say("relabel", { boxes });
    else this.does.say("accept");
  }

  tools() {
    const buttons = [
      make("button", { type: "button", title: "Larger (+)", "aria-label": "Larger", onclick: () => this.zoomBy(1.25) }, "+"),
      make("button", { type: "button", title: "Smaller (-)", "aria-label": "Smaller", onclick: () => this.zoomBy(0.8) }, "−"),
    ];
    if (this.editable) {
      const chosen = this.boxes.current();
      buttons.push(
        make("button", { type: "button", "aria-pressed": String(this.boxes.drawing), onclick: () => this.draws() }, "New box ", key("N")),
        make("button", { type: "button", disabled: !chosen, onclick: () => this.boxes.remove() }, "Delete ", key("Del")),
        make("button", { type: "button", disabled: !chosen, onclick: () => this.boxes.toggle() }, chosen && chosen.accepted ? "Leave out " : "Take in ", key("P")),
        make("button", { type: "button", disabled: !chosen, onclick: () => this.does.choose() }, "Class ", key("R")),
        make("button", { type: "button", disabled: !this.boxes.edited, onclick: () => this.reset() }, "Reset ", key("Z")),
        make("label", {}, "Proposals from ", make("input", {
          type: "number", min: "0", max: "1", step: "0.05", value: this.boxes.floor,
          "aria-label": "Show proposals from this score", onchange: (event) => {
            this.boxes.floor = Number(event.target.value) || 0;
            this.boxes.paint();
          },
        })));
    }
    if (this.store.run.task === "segmentation" || this.store.run.task === "instance") {
      buttons.push(
        make("button", { type: "button", "aria-pressed": String(this.masks), onclick: () => this.toggleMasks() }, "Masks ", key("M")),
        make("input", {
          type: "range", min: "0", max: "1", step: "0.05", value: this.opacity, "aria-label": "Opacity of the masks",
          oninput: (event) => { this.opacity = Number(event.target.value); this.layer(); },
        }));
    }
    $("tools").replaceChildren(...buttons);
  }

  draws() { this.boxes.drawing = !this.boxes.drawing; this.boxes.paint(); this.tools(); }

  draw() {
    const item = this.detail || this.store.item(this.number);
    const parts = [
      make("div", { class: "place" },
        make("button", { type: "button", class: "plain", onclick: () => this.does.close() }, "All items ", key("G")),
        make("span", { id: "position" }, this.position < 0 ? "" : `${many(this.position + 1)} of ${many(this.store.list.total)}`),
        make("button", { type: "button", "aria-label": "Previous", onclick: () => this.does.go(-1) }, "← ", key("K")),
        make("button", { type: "button", "aria-label": "Next", onclick: () => this.does.go(1) }, key("J"), " →")),
    ];
    if (item) parts.push(...this.about(item));
    $("panel").replaceChildren(...parts);
    $("boxes").setAttribute("aria-label", item && item.boxes ? `${this.boxes.said().length} boxes` : "Boxes");
  }

  about(item) {
    const { run, queue } = this.store, waiting = queue.pending(item.number);
    const state = waiting ? "saving …" : [STATUS[item.status], said(item)].filter(Boolean).join(": ");
    const facts = [make("div", {}, make("dt", {}, "doubt"), make("dd", {}, percent(item.doubt)))];
    if (item.given !== undefined && item.given !== null && item.given >= 0 && item.given !== item.label) {
      facts.push(make("div", {}, make("dt", {}, "given as"), make("dd", {}, className(item.given, run))));
    }
    if (item.before !== undefined && item.before !== null && item.before !== item.believed) {
      facts.push(make("div", {}, make("dt", {}, "the round before"), make("dd", {}, className(item.before, run))));
    }
    const title = this.places ? this.summary(item) : className(item.label, run);
    return [
      make("h2", { class: "believed" }, title, item.status === "given" || this.places ? null : make("small", {}, percent(item.confidence))),
      make("p", { class: `state ${item.status}` }, state),
      make("p", { class: "quiet" }, named(item.name)),
      make("div", { class: "acts" },
        act("accept", this.title(), "A", () => this.does.accept()),
        act("reject", "Reject", "X", () => this.does.say("reject")),
        act("skip", "Skip", "S", () => this.does.say("skip")),
        act("undo", "Undo", "U", () => this.does.undo())),
      make("dl", { class: "facts" }, ...facts),
      run.task === "segmentation" ? this.legend(item) : this.classes(item),
    ];
  }

  title() {
    if (!this.editable || !this.detail) return "Accept";
    if (this.boxes.said().length === 0) return "Nothing is there";
    return this.boxes.edited ? "Save boxes" : "Accept";
  }

  summary(item) {
    if (!item.boxes) return make("span", {}, "");
    const count = this.boxes.said().length;
    const more = this.boxes.visible().length - count;
    return make("span", {}, `${count} ${count === 1 ? "box" : "boxes"}`, more > 0 ? make("small", {}, `${more} more proposed`) : null);
  }

  legend(item) {
    const rows = (item.segments || []).map((segment) => make("li", {}, swatch(this.store.run, segment.label), className(segment.label, this.store.run)));
    return make("ul", { class: "swatches" }, ...rows);
  }

  classes(item) {
    const { run } = this.store, keys = classKeys(run.classes, item.candidates);
    const byClass = new Map([...keys].map(([name, label]) => [label, name]));
    const sure = new Map(item.candidates || []);
    const likely = (item.candidates || []).map(([label]) => label);
    const all = run.classes.map((_, label) => label);
    const order = run.classes.length <= 10 ? all : this.places ? all.slice(0, 30) : [...new Set([...likely, ...all])].slice(0, 12);
    const chosen = this.editable ? this.boxes.current()?.label : item.label;
    const rows = order.map((label) => make("button", {
      type: "button", class: label === chosen ? "class chosen" : "class", "aria-pressed": String(label === chosen),
      onclick: () => this.does.give(label),
    }, byClass.has(label) ? key(byClass.get(label)) : make("span", { class: "nokey" }), this.editable ? swatch(run, label) : null,
    className(label, run), sure.has(label) ? make("span", { class: "sure" }, percent(sure.get(label))) : null, meter(sure.get(label))));
    const title = this.editable ? "Class of the chosen box" : "It is a …";
    return make("div", { class: "classes" }, make("h3", {}, title, " ", key("R"), make("span", { class: "quiet" }, " search")), ...rows);
  }
}

function act(name, text, letter, onclick) {
  return make("button", { type: "button", class: `act ${name}`, id: `act-${name}`, onclick }, text + " ", key(letter));
}

function swatch(run, label) {
  const made = make("i", { class: "swatch" });
  made.style.background = run.colours[label] || "#888888";
  return made;
}

function meter(share) {
  if (share === undefined) return null;
  const made = make("span", { class: "meter", "aria-hidden": "true" });
  made.style.width = 100 * share + "%";
  return made;
}
