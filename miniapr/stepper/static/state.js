// What an engine was at any moment of a run, from its events alone. No drawing here.
//
// A run is cut into frames: what a person wants to see as one step. `at(i)` is the state after frame i. It goes on
// from the last state asked for, or from the nearest of the states kept every 64 frames, so a scrubber may jump.

const KEEP = 64;
const BEGIN = new Set(["started", "forked", "joined"]); // each is a frame of its own,
const BEFORE = new Set(["submitted", "admitted", "sealed", "woven", "copied", "merged", "released", "ended", "pool"]); // with what led to it
const ALONE = { spans: [], common: 0 }; // the weave of a span that is in none
const COUNTERS = ["decoded", "prefilled", "recomputed", "reused", "bytes_moved", "keys_shifted", "critical", "passes"];

class State {
  constructor() {
    this.spans = new Map(); // id -> {id, branch, position, tokens, written, blocks, turn, source, view, read, weave}
    this.branches = new Map(); // id -> {id, parent, span, view, alive, end, first, critical, sources}
    this.refs = new Map(); // block -> how many hold it
    this.owner = new Map(); // block -> span
    this.counters = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  }

  clone() {
    const copy = new State();
    for (const [id, span] of this.spans) copy.spans.set(id, { ...span, tokens: [...span.tokens], blocks: [...span.blocks] });
    for (const [id, branch] of this.branches) copy.branches.set(id, { ...branch });
    copy.refs = new Map(this.refs);
    copy.owner = new Map(this.owner);
    copy.counters = { ...this.counters };
    return copy;
  }

  /** All tokens that a branch stands on, in the order of its view: [{span, index, position}] */
  history(id) {
    const branch = this.branches.get(id), found = [];
    for (const [span, start, stop, shift] of this.pieces(branch.view, branch.span))
      for (let i = start; i < stop; i++) found.push({ span, index: i, position: this.spans.get(span).position + i + shift });
    return found;
  }

  /** A view, and a span after it as one more piece. */
  pieces(view, span) {
    const length = this.spans.get(span).tokens.length;
    return length ? [...view, [span, 0, length, 0]] : view;
  }

  /** All that a branch's next token attends to: in a weave also what the others have written, as it counts. */
  standing(id) {
    const { view, span } = this.branches.get(id), { weave } = this.spans.get(span), own = this.pieces(view, span);
    if (!weave.spans.length || weave.positions === "private") return own;
    const others = weave.spans.filter((other) => other !== span).flatMap((other) => this.pieces(after(this.spans.get(other).view, weave.common), other));
    const [common, mine] = [head(own, weave.common), after(own, weave.common)];
    if (weave.positions !== "contiguous") return [...common, ...others, ...mine];
    // As one text: what all see first, the others' work, one's own.
    const count = length(others), [begun, from, , shift] = mine[0] ?? [span, 0, 0, 0];
    let at = this.spans.get(begun).position + from + shift - count;
    const moved = others.map(([other, start, stop]) => {
      const by = at - this.spans.get(other).position - start;
      at += stop - start;
      return [other, start, stop, by];
    });
    return [...common.map(([other, start, stop, by]) => [other, start, stop, by - count]), ...moved, ...mine];
  }

  /** What the tokens of a span attend to beside their own: its view, and in a weave what the others wrote before. */
  seen(id) {
    const { view, weave } = this.spans.get(id), others = weave.spans.filter((other) => other !== id);
    return [...view, ...others.flatMap((other) => after(this.spans.get(other).view, weave.common))];
  }

  /** The position of a branch's next token. */
  next(id) {
    const span = this.spans.get(this.branches.get(id).span);
    return span.position + span.tokens.length;
  }
}

/** The pieces of a view beyond its first tokens. */
function after(view, count) {
  const found = [];
  for (const [span, from, to, shift] of view) {
    if (to - from > count) found.push([span, from + Math.max(count, 0), to, shift]);
    count -= to - from;
  }
  return found;
}

/** Their first tokens. */
function head(view, count) {
  const found = [];
  for (const [span, from, to, shift] of view) {
    if (count > 0) found.push([span, from, Math.min(to, from + count), shift]);
    count -= to - from;
  }
  return found;
}

const length = (pieces) => pieces.reduce((sum, [, from, to]) => sum + to - from, 0);

/** A branch begins a span: what the events call {span, position, tokens, view}. */
function begin(state, branch, said) {
  state.spans.set(said.span, {
    id: said.span, branch: branch.id, position: said.position, tokens: [...said.tokens], written: 0, blocks: [], turn: 0,
    view: said.view, source: null, again: 0, peak: 0, read: 0, sampled: false, weave: ALONE,
  });
  branch.span = said.span;
  branch.view = said.view;
}

function born(state, id, parent, said) {
  const above = state.branches.get(parent);
  const branch = { id, parent: parent ?? null, alive: true, end: "", critical: above ? above.critical : 0, sources: [], how: "" };
  state.branches.set(id, branch);
  begin(state, branch, said);
  branch.first = said.span;
  return branch;
}

/** A block now belongs to a span, as number i of its blocks. */
function own(state, span, i, block, size) {
  lose(state, block, size, span);
  span.blocks[i] = block;
  state.owner.set(block, span.id);
}

/** Whoever had a block has it no more, nor what came after it: of a span only a beginning can be there. */
function lose(state, block, size, unless) {
  const span = state.spans.get(state.owner.get(block));
  state.owner.delete(block);
  if (!span || span === unless) return;
  const at = span.blocks.indexOf(block);
  if (at >= 0) span.blocks.length = at;
  span.written = Math.min(span.written, span.blocks.length * size);
}

const APPLY = {
  started(state, e) {
    born(state, e.branch, null, e.data);
  },
  cached(state, e) {
    begin(state, state.branches.get(e.branch), e.data);
    state.counters.reused += e.data.cached;
  },
  extended(state, e) {
    state.spans.get(state.branches.get(e.branch).span).tokens.push(...e.data.tokens);
  },
  sealed(state, e) {
    const branch = state.branches.get(e.branch), span = state.spans.get(branch.span);
    span.tokens.length -= e.data.tokens.length; // they were not computed yet, and go on in the new span
    begin(state, branch, e.data);
    const next = state.spans.get(e.data.span);
    for (const name of ["again", "peak", "read"]) next[name] = Math.max(0, span[name] - span.tokens.length);
  },
  computed(state, e, size) {
    const span = state.spans.get(e.data.span), first = Math.floor(e.data.start / size);
    e.data.blocks.forEach((block, i) => own(state, span, first + i, block, size));
    span.written = e.data.stop;
    state.counters.prefilled += e.data.stop - e.data.start - (span.sampled ? 1 : 0);
    state.counters.recomputed += Math.max(0, Math.min(e.data.stop, span.peak) - e.data.start);
    span.peak = Math.max(span.peak, e.data.stop);
    span.sampled = false;
  },
  decoded(state, e) {
    const branch = state.branches.get(e.branch), span = state.spans.get(branch.span);
    span.tokens.push(e.data.token);
    span.sampled = true;
    branch.critical += 1;
    state.counters.decoded += 1;
    state.counters.critical = Math.max(state.counters.critical, branch.critical);
  },
  stopped() {},
  waited(state, e) {
    state.branches.get(e.branch).critical = e.data.critical; // its next token comes after theirs
  },
  forked(state, e) {
    for (const child of e.data.children) if (!state.branches.has(child.branch)) born(state, child.branch, e.branch, child);
    state.counters.reused += e.data.reused ?? 0;
  },
  woven(state, { data }) {
    const weave = { spans: data.members.map((member) => member.span), common: data.common, positions: data.positions };
    for (const member of data.members) {
      const branch = state.branches.get(member.branch);
      if (branch.span !== member.span) {
        if (branch.first === branch.span) branch.first = member.span; // it was forked, and has written nothing yet
        begin(state, branch, member);
      }
      state.spans.get(member.span).weave = weave;
    }
  },
  copied(state, e, size) {
    const source = state.spans.get(e.data.source), span = {
      id: e.data.span, branch: source.branch, position: e.data.position, tokens: [...e.data.tokens],
      written: e.data.tokens.length, blocks: [], turn: e.data.turn, view: source.view, source: source.id,
      again: 0, peak: 0, read: 0, sampled: false, weave: ALONE,
    };
    span.peak = span.written;
    state.spans.set(span.id, span);
    e.data.blocks.forEach((block, i) => own(state, span, i, block, size));
  },
  joined(state, e) {
    const { data } = e, known = state.branches.get(e.branch);
    const sources = data.children.map((id) => ({ branch: id, span: state.branches.get(id).span }));
    const critical = Math.max(...data.children.map((id) => state.branches.get(id).critical));
    const branch = known ?? born(state, e.branch, state.branches.get(data.parent).parent, data);
    begin(state, branch, data);
    Object.assign(branch, { critical, sources, how: data.how, joined: data.span, first: known ? branch.first : data.span });
    const span = state.spans.get(data.span);
    span.peak = span.again = Math.min(data.recomputed, data.tokens.length); // their keys and values were there once
    span.read = data.read ?? 0; // an older trace does not say
    for (const name of ["reused", "bytes_moved", "keys_shifted"]) state.counters[name] += data[name];
  },
  merged(state, e) {
    Object.assign(state.branches.get(e.branch), { alive: false, end: "joined" });
  },
  released(state, e) {
    Object.assign(state.branches.get(e.branch), { alive: false, end: "released" });
  },
  ended(state, e) {
    Object.assign(state.branches.get(e.branch), { alive: false, end: "ended" });
  },
  aborted(state, e) {
    const branch = state.branches.get(e.branch);
    if (branch) Object.assign(branch, { alive: false, end: "aborted" });
  },
  step(state) {
    state.counters.passes += 1;
  },
  pool(state, e, size) {
    for (const [name, count] of Object.entries(e.data.refs)) {
      const block = Number(name);
      if (count) {
        state.refs.set(block, count);
        continue;
      }
      state.refs.delete(block);
      lose(state, block, size);
    }
  },
};

function cut(events) {
  const frames = [];
  let step = null, open = null, waiting = null; // what is not worth a frame goes into the next one of its step
  const close = () => (open = null);
  events.forEach((event, i) => {
    const { kind } = event, shown = kind in APPLY && !["pool", "sealed", "woven"].includes(kind);
    if (event.step !== step) close();
    if (BEGIN.has(kind) && open && ![...open.kinds].every((k) => BEFORE.has(k))) close();
    if (!open && !shown && (event.step !== step || !frames.length || waiting !== null)) waiting ??= i;
    step = event.step;
    if (!open && shown) {
      frames.push((open = { first: waiting ?? i, last: i, kinds: new Set(), phase: 0 }));
      for (let j = open.first; j < i; j++) open.kinds.add(events[j].kind);
      waiting = null;
    }
    if (waiting !== null || !frames.length) return;
    const frame = open ?? frames.at(-1);
    frame.last = i;
    frame.kinds.add(kind);
    if (BEGIN.has(kind)) close();
  });
  if (waiting !== null && frames.length) frames.at(-1).last = events.length - 1;
  let phase = 0;
  for (const frame of frames) {
    if (frame.kinds.has("forked") || frame.kinds.has("joined")) phase += 1;
    frame.phase = phase;
  }
  return frames;
}

export class Run {
  constructor({ title, about, events }) {
    Object.assign(this, { title, about, events, size: about.block_size });
    this.frames = cut(events);
    this.kept = [[-1, new State()]];
    this.here = -1;
    this.state = new State();
    // Who decoded what: (span, index) -> the event, once for all frames, since spans are never rewritten.
    this.said = new Map();
    const open = new Map();
    for (const event of events) {
      const { kind, branch, data } = event;
      if (kind === "forked") for (const child of data.children) open.set(child.branch, [child.span, child.tokens.length]);
      else if (kind === "woven") for (const member of data.members) open.set(member.branch, [member.span, member.tokens.length]);
      else if (data.view) open.set(branch, [data.span, data.tokens.length]);
      if (kind === "extended") open.get(branch)[1] += data.tokens.length;
      if (kind === "decoded") this.said.set(`${open.get(branch)[0]}/${open.get(branch)[1]++}`, event);
      // A token that moves on to a new span when its own is sealed keeps what was said of it.
      if (kind === "sealed" && data.tokens.length) {
        const last = [...this.said.entries()].reverse().find(([, e]) => e.branch === branch);
        if (last) this.said.set(`${data.span}/${data.tokens.length - 1}`, last[1]);
      }
    }
  }

  get length() {
    return this.frames.length;
  }

  /** The state after frame i. It is the run's own: do not change it, do not keep it. */
  at(i) {
    if (i < this.here || i - this.here > KEEP) {
      const [from, kept] = this.kept.findLast(([at]) => at <= i);
      if (i < this.here || from > this.here) [this.here, this.state] = [from, kept.clone()];
    }
    while (this.here < i) {
      const frame = this.frames[++this.here];
      for (let j = frame.first; j <= frame.last; j++) APPLY[this.events[j].kind]?.(this.state, this.events[j], this.size);
      const last = this.kept[this.kept.length - 1][0];
      if (this.here >= last + KEEP) this.kept.push([this.here, this.state.clone()]);
    }
    return this.state;
  }

  text(id) {
    return this.about.texts[id] ?? `#${id}`;
  }

  /** Token i of a span as text. */
  word(span, i) {
    return this.text(span.tokens[i]);
  }

  /** Whether what event j computes was decoded before and only waited for it. */
  waited(j) {
    const { branch } = this.events[j];
    if (branch === null) return false;
    for (let i = j - 1; i >= 0; i--) {
      const { kind, branch: other } = this.events[i];
      if (other === branch && (kind === "decoded" || kind === "computed")) return kind === "decoded";
    }
    return false;
  }

  /** One sentence on what frame i does. */
  tell(i) {
    const frame = this.frames[i], events = this.events.slice(frame.first, frame.last + 1);
    const of = (kind) => events.filter((e) => e.kind === kind);
    const some = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
    const parts = [];
    for (const e of of("started")) parts.push(`Branch ${e.branch} starts with ${some(e.data.tokens.length, "token")}`);
    for (const e of of("forked"))
      parts.push(`Branch ${e.branch} forks at position ${e.data.position} into ${e.data.children.length}; nothing is computed or copied`);
    for (const e of of("joined")) parts.push(joining(e, some));
    for (const e of of("woven"))
      parts.push(`Branches ${e.data.members.map((member) => member.branch).join(", ")} see from here on what the others write`);
    const decoded = of("decoded");
    if (decoded.length === 1) parts.push(`Branch ${decoded[0].branch} decodes one token`);
    else if (decoded.length) parts.push(`${some(decoded.length, "branch").replace("branchs", "branches")} decode a token each, in one step`);
    const computed = events.flatMap((e, k) => (e.kind === "computed" ? [[e.data.stop - e.data.start, this.waited(frame.first + k)]] : []));
    const waited = computed.filter(([, was]) => was).length, filled = computed.reduce((n, [count]) => n + count, 0) - waited;
    if (waited && !decoded.length) parts.push(`Keys and values of ${waited === 1 ? "the token" : `${waited} tokens`} decoded last are computed`);
    if (filled > 0) parts.push(`${some(filled, "token")} prefilled`);
    const stopped = of("stopped").map((e) => e.branch);
    if (stopped.length) parts.push(`${named(stopped)} ${stopped.length === 1 ? "stops" : "stop"}`);
    for (const e of of("preempted")) parts.push(`request ${e.request} gives up its blocks`);
    const gone = [...of("released"), ...of("aborted")].filter((e) => e.branch !== null).map((e) => e.branch);
    if (gone.length) parts.push(`${named(gone)} let go`);
    const ended = of("ended").map((e) => e.branch);
    if (ended.length) parts.push(`${named(ended)} ${ended.length === 1 ? "ends" : "end"} with the thought`);
    return parts.join("; ") || "Nothing changes for the branches";
  }
}

/** Branches by their numbers, or how many they are. */
function named(ids) {
  if (ids.length === 1) return `branch ${ids[0]}`;
  return ids.length > 6 ? `${ids.length} branches` : `branches ${ids.join(", ")}`;
}

const NAMES = {
  stitch: "stitch", stitch_contiguous: "stitch, contiguous", stitch_copied: "stitch, copied", reprefill: "re-prefill",
};

export const joinName = (how) => NAMES[how] ?? how;

function joining({ branch, data }, some) {
  const { recomputed, bytes_moved: moved, keys_shifted: turned } = data;
  const cost = [];
  if (recomputed) cost.push(`${some(recomputed, "token")} to compute again`);
  if (moved) cost.push(`${moved.toLocaleString("en")} bytes moved`, `${some(turned, "key")} turned`);
  const end = data.position + data.tokens.length;
  return `Branch ${branch} joins ${data.children.join(", ")} by ${joinName(data.how)}: ` +
    `${cost.join(", ") || "nothing computed, nothing moved"}; it goes on at position ${end}`;
}

/** Runs side by side, in lock-step: column i of every run belongs together. Between two forks or joins each run takes
 * as many columns as the longest; one that has less to do waits at its last frame. */
export function align(runs) {
  const phases = Math.max(...runs.map((run) => run.frames.at(-1)?.phase ?? 0));
  const columns = runs.map(() => []);
  for (let phase = 0; phase <= phases; phase++) {
    const parts = runs.map((run) => run.frames.flatMap((frame, i) => (frame.phase === phase ? [i] : [])));
    const longest = Math.max(...parts.map((part) => part.length));
    parts.forEach((part, r) => {
      const last = part.at(-1) ?? columns[r].at(-1) ?? 0;
      for (let i = 0; i < longest; i++) columns[r].push(part[i] ?? last);
    });
  }
  return columns;
}
