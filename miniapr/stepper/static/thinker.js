// The engine in a worker, as the page sees it: ask, and a promise gives the answer. Where the engine comes from: a page
// that must work as one file has it in itself; a page of a site names a script that lies beside it.

const EMBEDDED = "miniapr-engine"; // id of the element that holds it, or name of the meta that says where it is

/** Whether the page says where an engine is. */
export function offered() {
  return Boolean(document.getElementById(EMBEDDED) || address());
}

const address = () => document.querySelector(`meta[name="${EMBEDDED}"]`)?.content ?? "";

/** Loads engine and model, and starts them. Rejects with what is missing, in words. */
export async function start() {
  const { worker, model, weights } = await packed();
  const url = URL.createObjectURL(new Blob([worker], { type: "text/javascript" }));
  try {
    const thinker = new Thinker(new Worker(url), model);
    await thinker.ask({ model, weights });
    return thinker;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** {worker, model, weights}, as miniapr/stepper/engine.py packs them. */
function packed() {
  const element = document.getElementById(EMBEDDED);
  if (element) return JSON.parse(element.textContent);
  if (globalThis.miniaprEngine) return globalThis.miniaprEngine;
  return new Promise((done, failed) => {
    const script = document.createElement("script"); // a script, since a page that is a file may fetch nothing
    script.nonce = document.querySelector("script[nonce]")?.nonce ?? "";
    script.addEventListener("load", () => (globalThis.miniaprEngine ? done(globalThis.miniaprEngine) : failed(new Error("its file is broken"))));
    script.addEventListener("error", () => failed(new Error("its file is not there")));
    script.src = address();
    document.head.append(script);
  });
}

class Thinker {
  constructor(worker, model) {
    Object.assign(this, { worker, model, waiting: new Map(), turn: 0, items: 0, seconds: 0 });
    worker.addEventListener("message", ({ data }) => this.answered(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault(); // it is told to whoever waits
      for (const { failed } of this.waiting.values()) failed(new Error(event.message || "the worker cannot be started"));
      this.waiting.clear();
    });
  }

  /** A message of engine/worker.js; the state that it leads to. */
  ask(message) {
    const turn = this.turn++;
    return new Promise((done, failed) => {
      this.waiting.set(turn, { done, failed });
      this.worker.postMessage({ turn, ...message });
    });
  }

  answered({ turn, state, error, seconds, items }) {
    const { done, failed } = this.waiting.get(turn) ?? {};
    this.waiting.delete(turn);
    if (error !== undefined) return failed?.(new Error(error));
    Object.assign(this, { seconds, items }); // how long it took; of the plan that was written last
    done?.(state);
  }

  /** Begin anew. */
  open(prompt) {
    return this.ask({ prompt });
  }

  /** A command. Rejects with what is wrong with it. */
  async do(line) {
    const state = await this.ask({ line });
    if (state.error) throw new Error(state.said);
    return state;
  }

  close() {
    this.worker.terminate();
  }
}
