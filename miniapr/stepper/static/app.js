// The stepper: controls, and for each run its pictures. Everything is drawn anew for a step; nothing is kept but the
// step, the branch that was chosen and the token that is looked at.
import { read, write } from "./address.js";
import { reading } from "./engine/countdown.js";
import { describe as tellGraph, graph } from "./graph.js";
import { mask } from "./mask.js";
import { counters, inspect, meanings, table } from "./panel.js";
import { describe as tellPool, fill, pool } from "./pool.js";
import { rows } from "./rows.js";
import { Run, align } from "./run.js";
import { html } from "./svg.js";
import { tell } from "./telling.js";

const ALL = ["counters", "graph", "token", "mask", "pool", "table"];
const LEGEND = [
  ["", "keys and values in the pool"], ["pale", "not (yet) in the pool"], ["again", "computed again"], ["moved", "seen as if it stood here"],
];
const HELP = [
  ["← →", "a step back, a step on"], ["Home End", "first, last step"], ["[ ]", "the fork or join before, after"],
  ["Space", "play, pause"], ["Esc", "close this list"], ["↑ ↓", "choose a branch"], ["Z", "tokens as text, or all of it at once"],
  ["Tab", "to the pictures; in that of the branches the arrows go from token to token"],
];

export function mount(element, data, options = {}) {
  return new App(element, data, options);
}

class App {
  constructor(element, data, { step = 0, views = ALL, controls = true, hash = false, onBranch = null }) {
    Object.assign(this, { element, views, hash, onBranch, playing: null, zoom: false, token: null, selected: [] });
    this.root = html("div", { class: "stepper", tabindex: "0", role: "application", "aria-label": "Stepper: arrow keys go from step to step" });
    this.said = html("p", { class: "said", role: "status", "aria-live": "polite" });
    if (controls) this.root.append(this.bar());
    this.root.append(this.said, legend(), (this.body = html("div", { class: "runs" })), (this.words = html("p", { class: "legend" })), ...(views.includes("counters") ? [meanings()] : []));
    element.append(this.root);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.watch = new ResizeObserver(() => this.later());
    this.watch.observe(this.root);
    if (hash) {
      this.fromHash = () => this.go(read());
      addEventListener("hashchange", this.fromHash);
    }
    this.load(data, (hash ? read() : null) ?? step);
  }

  /** Draw another trace in the same place, at its last step unless told otherwise. `chosen`: the branch to show (null:
   * the one that the step is about). */
  load(data, step = Infinity, chosen = undefined) {
    if (chosen !== undefined) this.selected = data.runs.map(() => chosen ?? undefined);
    this.runs = data.runs.map((run) => new Run(run));
    this.columns = align(this.runs);
    this.length = this.columns[0].length;
    for (const run of this.runs) measure(run);
    this.reach = Math.max(...this.runs.map((run) => run.reach));
    this.token = null;
    this.words.textContent = reading(this.runs[0].about.texts);
    this.body.replaceChildren(...this.runs.map((run, r) => this.column(run, r)));
    if (this.scrub) this.scrub.max = this.length - 1;
    if (this.marks) this.marks.replaceChildren(...this.jumps().map((at) => html("i", { style: `left:${(100 * at) / Math.max(this.length - 1, 1)}%` })));
    this.step = -1;
    this.go(step ?? 0);
  }

  destroy() {
    this.pause();
    this.watch.disconnect();
    if (this.fromHash) removeEventListener("hashchange", this.fromHash);
    this.root.remove();
  }

  // Controls

  bar() {
    const button = (text, title, act, name) => html("button", { type: "button", title, "aria-label": title, onclick: act, class: name }, text);
    this.player = button("▶", "Play", () => this.toggle(), "play");
    this.scrub = html("input", { type: "range", min: 0, step: 1, "aria-label": "Step", oninput: () => this.go(Number(this.scrub.value)) });
    this.count = html("output", { class: "count" });
    const help = (this.help = html("details", { class: "help" }, html("summary", { title: "Keys" }, "?"),
      html("dl", {}, HELP.map(([keys, what]) => html("div", {}, html("dt", {}, html("kbd", {}, keys)), html("dd", {}, what))))));
    return html("div", { class: "bar" },
      button("⇤", "Fork or join before this step", () => this.jump(-1)), button("◀", "Step back", () => this.go(this.step - 1)), this.player,
      button("▶︎▏", "Step on", () => this.go(this.step + 1), "next"), button("⇥", "Next fork or join", () => this.jump(1)),
      html("div", { class: "scrub" }, this.scrub, (this.marks = html("div", { class: "marks", "aria-hidden": "true" }))), this.count,
      (this.zoomer = button("abc", "Show the tokens' text", () => this.rezoom(), "zoom")), help);
  }

  key(event) {
    if (event.target !== this.root && event.target.closest("input:not([type=range]), textarea, select")) return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const map = {
      ArrowLeft: () => this.go(this.step - 1), ArrowRight: () => this.go(this.step + 1), Home: () => this.go(0), End: () => this.go(this.length - 1),
      "[": () => this.jump(-1), "]": () => this.jump(1), " ": () => this.toggle(), z: () => this.rezoom(), Z: () => this.rezoom(),
      ArrowUp: () => this.choose(-1), ArrowDown: () => this.choose(1), Escape: () => this.help?.removeAttribute("open"),
    };
    if (event.key === " " && event.target.closest("button, summary")) return;
    if (!map[event.key]) return;
    event.preventDefault();
    map[event.key]();
  }

  jumps() {
    const found = new Set();
    this.runs.forEach((run, r) => this.columns[r].forEach((at, i) => {
      const { kinds } = run.frames[at];
      if ((kinds.has("forked") || kinds.has("joined")) && this.columns[r][i - 1] !== at) found.add(i);
    }));
    return [...found].sort((a, b) => a - b);
  }

  jump(way) {
    const to = way > 0 ? this.jumps().find((at) => at > this.step) : this.jumps().findLast((at) => at < this.step);
    this.go(to ?? (way > 0 ? this.length - 1 : 0));
  }

  toggle() {
    if (this.playing) return this.pause();
    if (this.step >= this.length - 1) this.go(0);
    this.playing = setInterval(() => (this.step < this.length - 1 ? this.go(this.step + 1) : this.pause()), 220);
    this.showPlaying();
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    this.showPlaying();
  }

  showPlaying() {
    if (!this.player) return;
    this.player.textContent = this.playing ? "❚❚" : "▶";
    this.player.setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  rezoom() {
    this.zoom = !this.zoom;
    this.zoomer?.setAttribute("aria-pressed", this.zoom);
    this.draw();
  }

  choose(way) {
    const run = this.active ?? 0, ids = rows(this.runs[run].at(this.columns[run][this.step])).map(({ branch }) => branch.id);
    const at = ids.indexOf(this.chosen(run));
    this.pick(run, ids[Math.max(0, Math.min(ids.length - 1, at + way))]);
  }

  /** The branch whose table and mask are shown: the one that was chosen, else the one that the step is about. */
  chosen(r) {
    const state = this.runs[r].at(this.columns[r][this.step]), id = this.selected[r];
    if (id !== undefined && state.branches.has(id)) return id;
    const frame = this.runs[r].frames[this.columns[r][this.step]];
    const about = this.runs[r].events.slice(frame.first, frame.last + 1).findLast((e) => e.branch !== null && ["started", "forked", "joined", "decoded"].includes(e.kind));
    const leaf = [...state.branches.values()].filter((b) => b.alive).at(-1);
    return this.last?.[r] !== undefined && !about ? this.last[r] : about?.branch ?? leaf?.id ?? [...state.branches.keys()].at(-1);
  }

  pick(r, id) {
    // The run beside shows the same branch, if it has it: so that the two can be compared.
    this.runs.forEach((_, other) => (this.selected[other] = id));
    this.active = r;
    this.onBranch?.(id, r);
    this.draw();
  }

  go(step) {
    if (step === null) return;
    const to = Math.max(0, Math.min(this.length - 1, step));
    if (to === this.step || Number.isNaN(to)) return;
    this.step = to;
    if (this.hash) write(to);
    this.draw();
  }

  // Pictures

  column(run, r) {
    const part = (name, title) => this.views.includes(name)
      ? html("section", { class: `part ${name}`, "data-part": name }, title ? html("h3", {}, title) : null, html("div", { class: "content" })) : null;
    return html("article", { class: "run" },
      html("h2", { class: this.runs.length > 1 || run.title ? null : "unseen" }, run.title || `run ${r + 1}`),
      run.outcome ? outcome(run.outcome) : null,
      html("p", { class: "telling" }),
      html("div", { class: "parts" },
        part("counters"), part("graph", "Branches, by position"), part("mask", "Who attends to whom"),
        part("token", "Token"), part("pool", "Blocks of the KV cache"), part("table", "Block table")));
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      if (this.root.clientWidth !== this.width) this.draw();
    });
  }

  draw() {
    this.width = this.root.clientWidth;
    const sides = this.runs.map((run, r) => ({ run, at: this.columns[r][this.step], state: run.at(this.columns[r][this.step]) }));
    const differs = new Set();
    for (const name of Object.keys(sides[0].state.counters))
      if (sides.some(({ state }) => state.counters[name] !== sides[0].state.counters[name])) differs.add(name);
    const told = sides.map(({ run, at }) => tell(run, at));
    const same = told.every((text) => text === told[0]);
    this.said.textContent = same ? `${told[0]}.` : sides.map(({ run }, r) => `${run.title}: ${told[r]}.`).join(" ");
    this.last = sides.map((_, r) => this.chosen(r));
    sides.forEach(({ run, at, state }, r) => this.side(r, run, state, differs, same ? "" : told[r]));
    if (this.scrub) {
      this.scrub.value = this.step;
      this.scrub.setAttribute("aria-valuetext", `step ${this.step} of ${this.length - 1}: ${told[0]}`);
      this.count.textContent = `${this.step} / ${this.length - 1}`;
    }
  }

  side(r, run, state, differs, told) {
    const column = this.body.children[r], selected = this.last[r];
    const place = (name) => column.querySelector(`[data-part="${name}"] .content`);
    const width = Math.max(140, (place("graph") ?? column).clientWidth), token = this.token?.run === r ? this.token : null;
    column.querySelector(".telling").textContent = told ? `${told}.` : "";
    column.classList.toggle("other", Boolean(told));
    const look = { width, reach: this.reach, deepest: run.deepest, selected, token, zoom: this.zoom };
    place("counters")?.replaceChildren(counters(state, differs));
    if (place("graph")) this.lanes(place("graph"), r, run, state, look);
    place("token")?.replaceChildren(inspect(run, state, token));
    if (place("pool")) {
      const drawn = pool(run, state, { ...look, width: place("pool").clientWidth });
      const note = html("p", { class: "note" }, blockNote(run, state));
      drawn.picture.onpointermove = ({ offsetX, offsetY }) => {
        const block = drawn.find(offsetX, offsetY);
        note.textContent = block === null ? blockNote(run, state) : oneBlock(run, state, block);
      };
      place("pool").replaceChildren(drawn.picture, note);
      drawn.draw(); // in its place, where it has the colours of light or dark
    }
    place("table")?.replaceChildren(table(run, state, selected));
    if (place("mask") && state.branches.has(selected)) place("mask").replaceChildren(mask(run, state, { ...look, width: place("mask").clientWidth || width }));
  }

  lanes(place, r, run, state, look) {
    const drawn = graph(run, state, look);
    const box = place.firstElementChild ?? html("div", { class: "lanes", tabindex: "0", role: "group" });
    if (!place.firstElementChild) place.append(box);
    box.setAttribute("aria-label", `Branches of ${run.title || "the run"}. Arrow keys go from token to token.`);
    const before = box.scrollLeft;
    box.replaceChildren(drawn.picture);
    if (look.zoom && !look.token) box.scrollLeft = Math.max(0, drawn.head - look.width * 0.75);
    else box.scrollLeft = before;
    const find = (event) => {
      const { left, top } = drawn.picture.getBoundingClientRect();
      return drawn.find(event.clientX - left, event.clientY - top);
    };
    box.onpointermove = (event) => {
      const at = find(event);
      if (at?.span !== undefined) this.look(r, at);
    };
    box.onclick = (event) => {
      const at = find(event);
      if (at) this.pick(r, at.branch);
    };
    box.onkeydown = (event) => this.walk(event, r, run, state);
  }

  look(r, token) {
    if (this.token && this.token.run === r && this.token.span === token.span && this.token.index === token.index) return;
    this.token = { ...token, run: r };
    this.draw();
  }

  /** From token to token with the arrow keys. */
  walk(event, r, run, state) {
    const ids = rows(state).map(({ branch }) => branch.id);
    const own = (id) => [...state.spans.values()].filter((s) => s.branch === id && s.source === null && s.tokens.length);
    const now = this.token?.run === r && state.spans.has(this.token.span) ? this.token : null;
    if (event.key === "Enter" && now) return this.pick(r, state.spans.get(now.span).branch);
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const branch = now ? state.spans.get(now.span).branch : ids[0];
    if (move[0]) {
      const next = ids.slice(move[0] > 0 ? ids.indexOf(branch) + 1 : 0, move[0] > 0 ? undefined : ids.indexOf(branch));
      const found = (move[0] > 0 ? next : next.reverse()).find((id) => own(id).length);
      if (found !== undefined) this.look(r, { span: own(found)[0].id, index: 0 });
      return;
    }
    const line = own(branch).flatMap((s) => s.tokens.map((_, index) => ({ span: s.id, index })));
    const at = now ? line.findIndex((t) => t.span === now.span && t.index === now.index) + move[1] : 0;
    if (line[at]) this.look(r, line[at]);
  }
}

/** What a run came to. */
function outcome({ answer, verdict, right, judge }) {
  return html("p", { class: "outcome" }, html("span", {}, "Answer "), html("strong", {}, answer ?? "none"), judge ? html("span", {}, ` (chosen by ${judge})`) : null,
    verdict ? [" · ", html("b", { class: right ? "right" : "wrong" }, verdict)] : null);
}

const legend = () => html("p", { class: "legend" }, LEGEND.map(([kind, text]) => html("span", {}, html("i", { class: kind }), text)));

function blockNote(run, state) {
  const shared = [...state.refs.values()].filter((n) => n > 1).length;
  return `${state.refs.size} of ${run.about.blocks} blocks in use, ${shared} of them by more than one. ${run.size} tokens each.`;
}

function oneBlock(run, state, block) {
  const refs = state.refs.get(block) ?? 0, owner = state.owner.get(block);
  if (!refs || owner === undefined) return `Block ${block} is free.`;
  return `Block ${block}: span ${owner}, ${fill(run, state, block)} of ${run.size} slots written, ${refs} ${refs === 1 ? "holder" : "holders"}.`;
}

/** How far a run gets: the last position, the deepest branch, the longest word, the last block ever used. Once, so that pictures keep their size. */
function measure(run) {
  const ends = new Map(), depth = new Map();
  run.reach = 8;
  run.scored = run.events.some(({ kind }) => kind === "scored");
  run.longest = Math.max(3, ...Object.values(run.about.texts).map((text) => text.length)); // letters of a token
  run.lastBlock = 0;
  for (const { kind, branch, data } of run.events) {
    const begun = kind === "forked" ? data.children : kind === "woven" ? data.members : data.view ? [{ branch, ...data }] : [];
    for (const part of begun) {
      ends.set(part.branch, part.position + part.tokens.length);
      if (!depth.has(part.branch)) depth.set(part.branch, kind === "forked" ? depth.get(branch) + 1 : kind === "joined" ? depth.get(data.parent) : 0);
    }
    if (kind === "extended") ends.set(branch, ends.get(branch) + data.tokens.length);
    if (kind === "decoded") ends.set(branch, ends.get(branch) + 1);
    run.reach = Math.max(run.reach, ends.get(branch) ?? 0, ...begun.map((part) => ends.get(part.branch)));
    run.lastBlock = Math.max(run.lastBlock, ...(data.blocks ?? []));
  }
  run.deepest = Math.max(0, ...depth.values());
}

/** For who cannot see the pictures: all of them in words. */
export function inWords(run, state) {
  return `${tellGraph(run, state)} ${tellPool(run, state)}`;
}
