// Requests, and the queue of what was said and is not yet known to be recorded.

export class Refused extends Error {
  constructor(status, body) {
    const error = (body && body.error) || { found: "The server answered " + status + "." };
    super([error.found, error.do].filter(Boolean).join(" "));
    this.status = status;
    this.item = (body && body.item) || null;
  }
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", redirect: "error", ...options });
  let body = null;
  try { body = await answer.json(); } catch { /* an answer without JSON says nothing more */ }
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

export const picture = (round, number) => `api/rounds/${round}/items/${number}/picture`;
export const thumbnail = (round, item, drawn) =>
  `api/rounds/${round}/items/${item.number}/thumbnail` + (drawn ? `?drawn=true&version=${item.version}` : "");
export const detail = (round, number) => ask(`api/rounds/${round}/items/${number}`);

// Entries are sent one after the other, each with a token of its own, until the server has answered:
// sent twice, they are recorded once. Until then they are kept in the storage of the browser, so that
// a reload, a closed tab or a server that was killed loses none.
export class Queue extends EventTarget {
  constructor(run) {
    super();
    this.prefix = `leaven-review:${run}:`;
    this.waiting = [];
    this.connected = true;
    this.reason = "";
    this.busy = false;
    this.delay = 1000;
    const kept = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix));
    for (const name of kept) {
      try { this.waiting.push(JSON.parse(localStorage.getItem(name))); } catch { localStorage.removeItem(name); }
    }
    this.waiting.sort((a, b) => a.time - b.time);
  }

  // The version is that of the item as it is shown; where something said of it is still on its way,
  // the one that this will give it.
  say(item, round, action, more = {}) {
    const token = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const ahead = this.waiting.filter((entry) => entry.number === item.number).pop();
    const entry = {
      token, number: item.number, name: item.name, round, action, version: item.version,
      after: ahead ? ahead.token : null, time: Date.now(), ...more,
    };
    this.waiting.push(entry);
    this.keep(entry);
    this.tell("queue");
    this.send();
    return entry;
  }

  pending(number) { return this.waiting.some((entry) => entry.number === number); }

  keep(entry) {
    // A full storage is no reason to stop: the entry is still in memory.
    try { localStorage.setItem(this.prefix + entry.token, JSON.stringify(entry)); } catch { /* as said */ }
  }

  drop(entry) {
    this.waiting = this.waiting.filter((other) => other !== entry);
    localStorage.removeItem(this.prefix + entry.token);
  }

  async send() {
    if (this.busy) return;
    this.busy = true;
    clearTimeout(this.timer);
    while (this.waiting.length > 0) {
      if (!(await this.sendOne(this.waiting[0]))) break;
    }
    this.busy = false;
    this.tell("queue");
  }

  async sendOne(entry) {
    const { action, version, round, token, label = null, boxes = null } = entry;
    try {
      const answer = await ask(`api/items/${entry.number}/say`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ action, version, round, token, label, boxes }),
      });
      this.drop(entry);
      for (const other of this.waiting.filter((one) => one.after === token)) {
        Object.assign(other, { version: answer.item.version, after: null });
        this.keep(other);
      }
      this.connected = true;
      this.delay = 1000;
      this.tell("recorded", { entry, answer });
      return true;
    } catch (error) {
      const final = error instanceof Refused && error.status < 500 && error.status !== 403;
      if (!final) return this.wait(error);
      this.drop(entry);
      // What was said on top of it was said of something that is not there.
      const later = this.waiting.filter((one) => one.after === token);
      later.forEach((one) => this.drop(one));
      this.connected = true;
      this.tell("refused", { entry, error, later });
      return true;
    }
  }

  wait(error) {
    this.connected = false;
    this.reason = error instanceof Refused
      ? (error.status === 403 ? "The review was started again: open its new address." : error.message)
      : "The server does not answer.";
    this.timer = setTimeout(() => this.send(), this.delay);
    this.delay = Math.min(15000, this.delay * 1.6);
    this.tell("queue");
    return false;
  }

  tell(name, detail = {}) { this.dispatchEvent(new CustomEvent(name, { detail })); }
}
