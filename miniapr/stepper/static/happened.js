// What each event of a run changes.

import { ALONE } from "./state.js";

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

/** By its kind, what an event does to a state; `size` is that of a block. */
export const APPLY = {
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
  scored(state, e) {
    const { score, visits } = e.data, branch = state.branches.get(e.branch);
    Object.assign(branch, { score }, visits === undefined ? {} : { visits });
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
