// Boxes over a picture: looked at, moved, resized, added, deleted, given another class.

import { paint, prepared } from "./masks.js";
import { shown } from "./words.js";

const SPACE = "http://www.w3.org/2000/svg";
const CORNERS = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const LEAST = 1;

function draw(kind, attributes) {
  const element = document.createElementNS(SPACE, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

export class Boxes {
  // ``changed`` is called after every edit and every other choice of a box.
  constructor(svg, canvas, run, changed) {
    Object.assign(this, { svg, canvas, run, changed, things: [], selected: -1, drawing: false, floor: 0.3 });
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    svg.addEventListener("pointerup", (event) => this.up(event));
    svg.addEventListener("pointercancel", (event) => this.up(event));
  }

  open(detail, draft = null) {
    this.detail = detail;
    this.size = detail.size;
    this.selected = -1;
    this.drawing = false;
    this.grip = null;
    this.edited = draft !== null;
    this.things = draft || detail.boxes.map((thing, place) => ({ ...thing, box: [...thing.box], from: place }));
    this.svg.setAttribute("viewBox", `0 0 ${this.size[1]} ${this.size[0]}`);
    this.paint();
  }

  close() { this.detail = null; this.things = []; this.svg.replaceChildren(); }

  // What is said of the picture: the boxes that count, in the form of the server.
  said() {
    return this.things.filter((thing) => thing.accepted && !thing.crowd && thing.label >= 0).map((thing) => ({
      box: thing.box.map((value) => Math.round(value * 100) / 100),
      class: this.run.classes[thing.label],
      from: thing.from,
    }));
  }

  visible() {
    return this.things.map((_, place) => place).filter((place) => {
      const thing = this.things[place];
      return thing.accepted || thing.score === null || thing.score >= this.floor || place === this.selected;
    });
  }

  edit(change) {
    change();
    this.edited = true;
    this.paint();
    this.changed();
  }

  select(place) { this.selected = place; this.paint(); this.changed(); }

  cycle(step) {
    const places = this.visible();
    if (places.length === 0) return;
    const now = places.indexOf(this.selected);
    this.select(places[now < 0 ? (step > 0 ? 0 : places.length - 1) : (now + step + places.length) % places.length]);
  }

  current() { return this.things[this.selected] || null; }

  add(box = null) {
    const [height, width] = this.size;
    const used = this.things.filter((thing) => thing.accepted).map((thing) => thing.label);
    const label = this.current() ? this.current().label : used.length ? used[used.length - 1] : 0;
    const middle = [width * 0.375, height * 0.375, width * 0.625, height * 0.625];
    this.drawing = false;
    this.edit(() => {
      this.things.push({ box: box || middle, label, score: null, accepted: true, person: true, crowd: false, mask: null, from: null });
      this.selected = this.things.length - 1;
    });
  }

  remove() {
    if (!this.current()) return;
    this.edit(() => { this.things.splice(this.selected, 1); this.selected = -1; });
  }

  relabel(label) { if (this.current()) this.edit(() => Object.assign(this.current(), { label, accepted: true })); }

  toggle() {
    const thing = this.current();
    if (thing && !thing.crowd) this.edit(() => { thing.accepted = !thing.accepted; });
  }

  nudge(right, down, resize) {
    const thing = this.current();
    if (!thing || thing.crowd) return;
    this.edit(() => { thing.box = this.fitted(thing.box, resize ? "se" : "move", right, down); thing.accepted = true; });
  }

  // A box moved or pulled at a corner or side, within the picture and never inside out.
  fitted([x1, y1, x2, y2], how, right, down) {
    const [height, width] = this.size;
    if (how === "move") {
      const dx = Math.min(Math.max(right, -x1), width - x2), dy = Math.min(Math.max(down, -y1), height - y2);
      return [x1 + dx, y1 + dy, x2 + dx, y2 + dy];
    }
    if (how.includes("w")) x1 = Math.max(0, Math.min(x1 + right, x2 - LEAST));
    if (how.includes("e")) x2 = Math.min(width, Math.max(x2 + right, x1 + LEAST));
    if (how.includes("n")) y1 = Math.max(0, Math.min(y1 + down, y2 - LEAST));
    if (how.includes("s")) y2 = Math.min(height, Math.max(y2 + down, y1 + LEAST));
    return [x1, y1, x2, y2];
  }

  unit() { return this.size[1] / Math.max(1, this.svg.clientWidth); }

  point(event) {
    const frame = this.svg.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width * this.size[1], (event.clientY - frame.top) / frame.height * this.size[0]];
  }

  down(event) {
    if (event.button !== 0 || !this.detail) return;
    const place = event.target.dataset.place, start = this.point(event);
    this.svg.setPointerCapture(event.pointerId);
    event.preventDefault();
    if (this.drawing) {
      this.grip = { how: "draw", start };
    } else if (place !== undefined) {
      if (Number(place) !== this.selected) this.select(Number(place));
      const thing = this.current();
      if (!thing.crowd) this.grip = { how: event.target.dataset.corner || "move", start, box: [...thing.box] };
    } else if (this.selected >= 0) {
      this.select(-1);
    }
  }

  move(event) {
    if (!this.grip) return;
    const [x, y] = this.point(event), [x0, y0] = this.grip.start;
    if (this.grip.how === "draw") {
      const inside = (value, limit) => Math.min(limit, Math.max(0, value));
      const [height, width] = this.size;
      this.grip.box = [
        inside(Math.min(x, x0), width), inside(Math.min(y, y0), height),
        inside(Math.max(x, x0), width), inside(Math.max(y, y0), height),
      ];
    } else {
      const unit = this.unit();
      if (!this.grip.moved && Math.hypot(x - x0, y - y0) < 3 * unit) return;
      this.grip.moved = true;
      this.current().box = this.fitted(this.grip.box, this.grip.how, x - x0, y - y0);
    }
    this.paint();
  }

  up() {
    const grip = this.grip;
    this.grip = null;
    if (!grip) return;
    if (grip.how === "draw") {
      const box = grip.box;
      if (box && box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST) this.add(box);
      else this.paint();
    } else if (grip.moved) {
      this.edit(() => { this.current().accepted = true; });
    }
  }

  paint() {
    if (!this.detail) return;
    const unit = this.unit(), order = this.visible().filter((place) => place !== this.selected);
    if (this.selected >= 0) order.push(this.selected);
    this.svg.replaceChildren(...order.flatMap((place) => this.drawn(place, unit)));
    if (this.grip && this.grip.how === "draw" && this.grip.box) {
      this.svg.append(this.frame(this.grip.box, { class: "frame drawing" }));
    }
    this.svg.classList.toggle("drawing", this.drawing);
    this.paintMasks();
  }

  frame([x1, y1, x2, y2], attributes) {
    return draw("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, ...attributes });
  }

  drawn(place, unit) {
    const thing = this.things[place], chosen = place === this.selected;
    const colour = this.run.colours[thing.label] || "#888888";
    const name = thing.label < 0 ? "?" : shown(this.run.classes[thing.label]);
    const text = thing.crowd ? `${name} (crowd)` : thing.score === null ? name : `${name} ${thing.score.toFixed(2)}`;
    const frame = this.frame(thing.box, {
      class: "frame" + (chosen ? " chosen" : "") + (thing.accepted && !thing.crowd ? "" : " open"),
      stroke: colour, "data-place": place,
    });
    const [x1, y1, x2, y2] = thing.box;
    const above = y1 > 18 * unit;
    const tag = draw("text", {
      class: "tag", x: x1 + 4 * unit, y: above ? y1 - 5 * unit : y1 + 13 * unit, "font-size": 12 * unit,
    });
    tag.textContent = text;
    const ground = draw("rect", {
      class: "tag-ground", x: x1, y: above ? y1 - 17 * unit : y1, fill: colour,
      width: Math.max(x2 - x1, 0) < 30 * unit && !chosen ? Math.max(x2 - x1, 0) : (7.2 * text.length + 8) * unit,
      height: 17 * unit,
    });
    const small = x2 - x1 < 30 * unit && !chosen;
    const parts = small ? [frame] : [ground, tag, frame];
    if (!chosen || thing.crowd) return parts;
    const side = 10 * unit;
    const handles = CORNERS.map((corner) => {
      const x = corner.includes("w") ? x1 : corner.includes("e") ? x2 : (x1 + x2) / 2;
      const y = corner.includes("n") ? y1 : corner.includes("s") ? y2 : (y1 + y2) / 2;
      return draw("rect", {
        class: `handle ${corner}`, x: x - side / 2, y: y - side / 2, width: side, height: side,
        "data-place": place, "data-corner": corner,
      });
    });
    return [...parts, ...handles];
  }

  paintMasks() {
    const some = this.things.some((thing) => thing.mask);
    this.canvas.hidden = !some;
    if (!some) return;
    const scale = prepared(this.canvas, this.size), context = this.canvas.getContext("2d");
    for (const place of this.visible()) {
      const thing = this.things[place];
      if (!thing.mask || !(thing.accepted || place === this.selected)) continue;
      // As the server does: a mask goes along with a box that was moved, and is cut by a smaller one.
      const old = thing.from === null ? thing.box : this.detail.boxes[thing.from].box;
      const [left, top, right, bottom] = thing.box.map((value, side) => value - old[side]);
      const moved = Math.abs(left - right) < 0.01 && Math.abs(top - bottom) < 0.01;
      const cut = [left, top, right, bottom].some((value) => Math.abs(value) >= 0.01);
      context.save();
      if (cut) {
        context.beginPath();
        context.rect(thing.box[0] * scale, thing.box[1] * scale, (thing.box[2] - thing.box[0]) * scale, (thing.box[3] - thing.box[1]) * scale);
        context.clip();
      }
      paint(context, thing.mask, this.run.colours[thing.label] || "#888888", scale, moved ? [Math.round(left), Math.round(top)] : [0, 0]);
      context.restore();
    }
  }
}
