// What the page knows of the items, and the list that is shown.

import { Queue, ask } from "./api.js";

export const PAGE = 100;

export class Store extends EventTarget {
  constructor(run) {
    super();
    this.run = run;
    this.items = new Map();
    this.queue = new Queue(run.id);
    this.list = null;
    this.last = run.last;
  }

  item(number) { return this.items.get(number) || null; }

  at(position) {
    const page = this.list?.pages.get(Math.floor(position / PAGE));
    const number = page?.numbers?.[position % PAGE];
    return number === undefined ? null : this.item(number);
  }

  // An item as the server knows it; an older answer never replaces a newer one.
  update(item) {
    const known = this.items.get(item.number);
    if (!known || item.version >= known.version) this.items.set(item.number, item);
  }

  async find(query) {
    const answer = await ask("api/items?" + query);
    this.list = { cursor: answer.cursor, total: answer.total, corrected: answer.corrected, pages: new Map() };
    this.take(0, answer);
  }

  take(page, answer) {
    answer.items.forEach((item) => this.update(item));
    this.list.pages.set(page, { numbers: answer.items.map((item) => item.number) });
  }

  async load(page) {
    const list = this.list;
    list.pages.set(page, { numbers: null });
    try {
      const answer = await ask(`api/items?cursor=${list.cursor}&start=${page * PAGE}&count=${PAGE}`);
      if (this.list === list) this.take(page, answer);
    } catch (error) {
      // Asked for again in a while, as soon as it is looked at.
      setTimeout(() => {
        list.pages.delete(page);
        this.dispatchEvent(new Event("again"));
      }, 2000);
      throw error;
    }
  }
}
