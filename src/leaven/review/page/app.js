// The page: what is shown, what was said, and the keys.

import { ask } from "./api.js";
import { choose } from "./chooser.js";
import { asked, fillFilters } from "./filters.js";
import { Grid } from "./grid.js";
import { keyTable } from "./keys.js";
import { Large } from "./large.js";
import { PAGE, Store } from "./store.js";
import { STATUS, classKeys, make, many, named, shown } from "./words.js";

const $ = (id) => document.getElementById(id);
const WATCH = 10000;

class Page {
  constructor(run) {
    this.run = run;
    this.store = new Store(run);
    this.grid = new Grid($("grid"), $("spacer"), this.store, (position) => this.openAt(position));
    this.large = new Large(this.store, {
      say: (action, more) => this.say(action, more), accept: () => this.accept(), undo: () => this.undo(), go: (step) => this.step(step),
      close: () => this.close(), give: (label) => this.give(label), choose: () => this.choose(),
    });
    this.undoKey = `leaven-review-undo:${run.id}`;
    const queue = this.store.queue;
    queue.addEventListener("queue", () => this.saving());
    queue.addEventListener("recorded", (event) => this.recorded(event.detail));
    queue.addEventListener("refused", (event) => this.refused(event.detail));
    document.addEventListener("keydown", (event) => this.pressed(event));
    window.addEventListener("beforeunload", (event) => { if (queue.waiting.length) event.preventDefault(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.watch(); });
    setInterval(() => { if (!document.hidden) this.watch(); }, WATCH);
    this.controls();
    this.counts(run.counts);
    this.saving();
    queue.send();
  }

  get open() { return !$("large-view").hidden; }

  controls() {
    $("run").replaceChildren(named(this.run.run), make("span", { class: "quiet" }, ` round ${this.run.round}`));
    document.title = `${shown(this.run.run)} – leaven review`;
    const form = $("filters"), from = new URLSearchParams(location.hash.slice(1));
    fillFilters(form, this.run, from);
    let timer = 0;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.find());
    form.search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => this.find(), 200); });
    $("help-button").addEventListener("click", () => this.help());
    $("keys").replaceChildren(keyTable());
    $("nothing").hidden = true;
    this.start = { item: from.get("item"), at: Number(from.get("at") || 0) };
  }

  async find() {
    const query = asked($("filters"));
    try {
      await this.store.find(query);
    } catch (error) {
      this.notice("bad", error.message);
      return;
    }
    this.close(false);
    this.found();
    this.grid.reset();
    this.remember();
  }

  found() {
    const { total, corrected } = this.store.list;
    $("found").textContent = `${many(total)} ${total === 1 ? "item" : "items"}, ${many(corrected)} corrected`;
    $("nothing").hidden = total > 0;
  }

  remember() {
    const query = asked($("filters"));
    if (this.open) { query.set("item", this.large.number); query.set("at", this.large.position); }
    history.replaceState(null, "", "#" + query);
  }

  counts(counts) {
    this.run.counts = counts;
    for (const name of Object.keys(STATUS)) $(`count-${name}`).textContent = many(counts[name]);
    const total = this.run.items - counts.given;
    $("totals").textContent = `${many(counts.corrected)} corrected, ${many(counts.needs)} need a person, of ${many(total)}`;
  }

  saving() {
    const { waiting, connected, reason } = this.store.queue;
    $("saving").className = "saving" + (connected ? "" : " lost");
    $("saving").textContent = !connected ? `${reason} ${many(waiting.length)} waiting, kept in this browser.`
      : waiting.length ? `saving ${many(waiting.length)} …` : "saved";
    $("saving").title = connected ? "" : "It is tried again and again; what is recorded stays recorded.";
  }

  // --- Going about.

  openAt(position) {
    const item = this.store.at(position);
    if (item) this.show(item.number, position);
    else if (position >= 0 && position < this.store.list.total) {
      this.store.load(Math.floor(position / PAGE)).then(() => this.openAt(position), (error) => this.notice("bad", error.message, 5000));
    }
  }

  async show(number, position) {
    $("grid-view").hidden = true;
    $("large-view").hidden = false;
    document.body.classList.add("one");
    $("stage").focus({ preventScroll: true });
    try {
      const opening = this.large.open(number, position);
      this.remember();
      await opening;
    } catch (error) {
      this.notice("bad", error.message);
    }
  }

  close(focus = true) {
    if (!this.open) return;
    const position = this.large.position;
    $("large-view").hidden = true;
    $("grid-view").hidden = false;
    document.body.classList.remove("one");
    this.grid.render();
    if (focus) { this.grid.go(position); this.remember(); }
  }

  step(by) {
    const position = this.large.position + by;
    if (position < 0 || position >= this.store.list.total) {
      this.notice("info", by > 0 ? "This was the last item of the list." : "This is the first item of the list.", 3000);
      return;
    }
    this.openAt(position);
  }

  current() {
    if (this.open) return this.large.detail || this.store.item(this.large.number);
    return this.store.at(this.grid.at);
  }

  // --- Saying.

  say(action, more = {}) {
    const item = this.current();
    if (!item) return;
    if ((action === "accept" || action === "reject") && this.run.task === "classification" && item.label < 0) {
      this.notice("info", `Nothing is believed of this item, so there is nothing to ${action}: give it a class.`, 4000);
      return;
    }
    this.store.queue.say(item, this.run.round, action, more);
    this.pushUndo(item);
    if (this.open && this.large.position >= 0 && this.large.position + 1 < this.store.list.total) this.step(1);
    else if (this.open) this.large.draw();
    else this.grid.go(this.grid.at + 1);
  }

  // Where no box is taken in, accepting would say that nothing is there: that is asked for twice.
  accept() {
    if (this.open) {
      if (this.large.asksEmpty()) {
        this.notice("info", "No box is taken in. Take the right ones in (] and P), or press A again: nothing is there.", 6000);
      } else {
        this.large.accept();
      }
    } else if (this.large.editable && this.current()?.status === "needs") {
      this.openAt(this.grid.at);
    } else {
      this.say("accept");
    }
  }

  give(label) {
    if (this.open && this.large.editable) {
      if (this.large.boxes.current()) this.large.boxes.relabel(label);
      else this.notice("info", "Choose a box first: click it, or press ].", 3000);
    } else if (this.run.task === "classification") {
      this.say("relabel", { label: this.run.classes[label] });
    }
  }

  undone() { try { return JSON.parse(sessionStorage.getItem(this.undoKey)) || []; } catch { return []; } }

  pushUndo(item) {
    const stack = [...this.undone(), { number: item.number, name: item.name, at: this.open ? this.large.position : this.grid.at }];
    sessionStorage.setItem(this.undoKey, JSON.stringify(stack.slice(-1000)));
  }

  // Takes back what was said last in this tab; else what was said of the item that is shown.
  undo() {
    const stack = this.undone(), last = stack.pop();
    sessionStorage.setItem(this.undoKey, JSON.stringify(stack));
    const here = this.current();
    const item = last ? this.store.item(last.number) || last : here;
    if (!last && !(here && here.said)) {
      this.notice("info", "There is nothing to undo here.", 3000);
      return;
    }
    this.undoItem(item, last);
  }

  async undoItem(item, last) {
    let known = item;
    if (known.version === undefined) {
      try { known = await ask(`api/rounds/${this.run.round}/items/${item.number}`); } catch (error) { this.notice("bad", error.message); return; }
      this.store.update(known);
    }
    if (!known.said && !this.store.queue.pending(known.number)) {
      this.notice("info", "That was undone elsewhere.", 3000);
      return;
    }
    this.store.queue.say(known, this.run.round, "undo");
    const position = last && this.store.at(last.at)?.number === known.number ? last.at : -1;
    if (this.open && known.number !== this.large.number) this.show(known.number, position >= 0 ? position : this.large.position);
    else if (!this.open && position >= 0) this.grid.go(position);
  }

  recorded({ entry, answer }) {
    const before = this.store.item(entry.number);
    const was = before && before.status === "corrected", is = answer.item.status === "corrected";
    this.store.update(answer.item);
    this.counts(answer.counts);
    if (this.store.list && this.listed(entry.number)) { this.store.list.corrected += Number(is) - Number(Boolean(was)); this.found(); }
    this.large.drafts.delete(entry.number);
    this.refresh(entry.number, answer.item);
  }

  listed(number) {
    return [...this.store.list.pages.values()].some((page) => page.numbers && page.numbers.includes(number));
  }

  refresh(number, item) {
    this.grid.soon();
    if (!this.open || this.large.number !== number) return;
    if (item && !this.store.queue.pending(number)) this.large.show(item);
    else this.large.draw();
  }

  // What was said of something that is not there any more: it is shown as it is now, and can be said
  // again.
  refused({ entry, error, later }) {
    const what = { accept: "accepted", reject: "rejected", relabel: entry.label === undefined ? "boxes" : `“${shown(entry.label)}”`, skip: "skipped", undo: "undo" }[entry.action];
    const more = later.length ? ` Neither was what you said of it after that (${later.length}).` : "";
    const open = make("button", { type: "button", onclick: () => { this.show(entry.number, this.open ? this.large.position : this.grid.at); } }, "Show it");
    const stack = this.undone().filter((one) => one.number !== entry.number);
    sessionStorage.setItem(this.undoKey, JSON.stringify(stack));
    const offer = [open];
    if (error.item) {
      this.store.update(error.item);
      if (entry.boxes && this.run.round === entry.round) {
        offer.push(make("button", { type: "button", onclick: () => this.again(entry, error.item) }, "Show my boxes again"));
      }
      this.refresh(entry.number, error.item);
    }
    this.notice("bad", ["Not recorded: ", named(entry.name), ` (${what}). ${error.message}${more} `, ...offer]);
  }

  async again(entry, item) {
    const things = entry.boxes.map((one) => ({
      box: one.box, label: this.run.classes.indexOf(one.class), score: null, accepted: true, person: true, crowd: false, mask: null, from: null,
    }));
    this.large.drafts.set(entry.number, { version: item.version, things });
    await this.show(entry.number, this.open ? this.large.position : this.grid.at);
  }

  // What other tabs and other programs said meanwhile.
  async watch() {
    try {
      const news = await ask(`api/changes?since=${this.store.last}`);
      if (news.round !== this.run.round) {
        this.notice("info", ["The run wrote a new round of labels. ", make("button", { type: "button", onclick: () => location.reload() }, "Show it")], 0, "round");
        return;
      }
      this.store.last = news.last;
      this.counts(news.counts);
      for (const item of news.items) {
        if (this.store.item(item.number)) this.store.update(item);
        if (this.open && this.large.number === item.number && !this.store.queue.pending(item.number)
            && this.large.detail && this.large.detail.version < item.version) {
          this.large.open(item.number, this.large.position).catch(() => {});
        }
      }
      this.grid.soon();
      if (!this.store.queue.connected) this.store.queue.send();
    } catch { /* the next look tells more; what is to be saved says itself that it waits */ }
  }

  // --- Words.

  notice(kind, what, milliseconds = 0, once = "") {
    if (once && document.querySelector(`[data-once="${once}"]`)) return;
    const made = make("div", { class: `notice ${kind}`, "data-once": once || null });
    made.append(...(Array.isArray(what) ? what : [what]));
    made.append(make("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: () => made.remove() }, "×"));
    $("notices").append(made);
    while ($("notices").children.length > 5) $("notices").firstElementChild.remove();
    if (milliseconds) setTimeout(() => made.remove(), milliseconds);
  }

  help() { $("help").showModal(); }

  choose() {
    if (this.run.task === "segmentation") return;
    if (this.open && this.large.editable && !this.large.boxes.current()) this.give(0);
    else choose(this.run.classes, (label) => this.give(label));
  }

  // --- Keys.

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const field = event.target.closest?.("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (field) {
      if (event.key === "Escape") { field.blur(); if (!this.open) this.grid.go(this.grid.at); }
      return;
    }
    const onButton = event.target.closest?.("button, [role=button], input") && !event.target.closest(".cell");
    if (onButton && (event.key === "Enter" || event.key === " ")) return;
    if (this.acts(event)) event.preventDefault();
  }

  acts(event) {
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const common = {
      "?": () => this.help(), "/": () => $("filters").search.focus(), u: () => this.undo(), x: () => this.say("reject"),
      s: () => this.say("skip"), r: () => this.choose(), a: () => this.accept(),
    };
    if (!event.altKey && Object.hasOwn(common, pressed)) { common[pressed](); return true; }
    if (/^[0-9]$/.test(pressed) && !event.altKey) {
      const label = classKeys(this.run.classes, this.open ? this.large.detail?.candidates : []).get(pressed);
      if (label !== undefined) this.give(label);
      return label !== undefined;
    }
    return this.open ? this.largeKey(pressed, event) : this.gridKey(pressed, event);
  }

  gridKey(pressed) {
    const { grid } = this, page = grid.columns * Math.max(1, Math.floor($("grid").clientHeight / 208));
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.columns, ArrowUp: -grid.columns, j: 1, k: -1,
      PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    };
    if (Object.hasOwn(steps, pressed)) { grid.go(grid.at + steps[pressed]); return true; }
    if (pressed === "Enter") { this.openAt(grid.at); return true; }
    return false;
  }

  largeKey(pressed, event) {
    const { large } = this;
    if (large.editable && this.boxKey(pressed, event)) return true;
    const keys = {
      j: () => this.step(1), ArrowRight: () => this.step(1), k: () => this.step(-1), ArrowLeft: () => this.step(-1),
      g: () => this.close(), Escape: () => this.close(), Enter: () => this.accept(),
      "+": () => large.zoomBy(1.25), "=": () => large.zoomBy(1.25), "-": () => large.zoomBy(0.8), m: () => large.toggleMasks(),
    };
    if (event.altKey || !Object.hasOwn(keys, pressed)) return false;
    keys[pressed]();
    return true;
  }

  boxKey(pressed, event) {
    const { large } = this, { boxes } = large;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (boxes.current() && Object.hasOwn(arrows, pressed)) {
      const far = event.shiftKey ? 10 : 1;
      boxes.nudge(arrows[pressed][0] * far, arrows[pressed][1] * far, event.altKey);
      return true;
    }
    if (pressed === "Escape" && (boxes.current() || boxes.drawing)) { boxes.drawing = false; boxes.select(-1); return true; }
    const keys = {
      "[": () => boxes.cycle(-1), "]": () => boxes.cycle(1), Delete: () => boxes.remove(), Backspace: () => boxes.remove(),
      n: () => (boxes.drawing ? boxes.add() : large.draws()), p: () => boxes.toggle(), z: () => large.reset(),
    };
    if (event.altKey || !Object.hasOwn(keys, pressed)) return false;
    keys[pressed]();
    return true;
  }
}

async function begin() {
  try {
    const page = new Page(await ask("api/run"));
    page.run.notes.forEach((note) => page.notice("info", note));
    await page.find();
    const { item, at } = page.start;
    if (item !== null && /^[0-9]+$/.test(item)) await page.show(Number(item), Math.min(at, page.store.list.total - 1));
    else page.grid.go(0, false);
    document.body.dataset.ready = "yes";
  } catch (error) {
    document.body.prepend(make("p", { class: "notice bad", role: "alert" }, error.message));
  }
}

begin();
