// What is told in words and numbers: the counters, the block table of a branch, and one token.
import { meaning } from "./engine/countdown.js";
import { colour, fromTo, html, ranges, signed } from "./svg.js";

const TITLES = [
  ["decoded", "decoded", "tokens sampled"],
  ["prefilled", "prefilled", "tokens computed that were not just sampled: prompts, seeds, text joined again"],
  ["recomputed", "of it again", "tokens computed whose keys and values had been there before"],
  ["reused", "reused", "tokens whose keys and values were taken over as they are, by forks and joins"],
  ["bytes_moved", "bytes moved", "copied inside the pool"],
  ["keys_shifted", "keys turned", "keys rotated to another position, in memory"],
  ["critical", "critical path", "tokens that had to be decoded one after the other"],
  ["passes", "passes", "forward passes, the prompt's included"],
];

/** `differs`: the names of counters that the run beside has otherwise. */
export function counters(state, differs) {
  return html("dl", { class: "counters" }, TITLES.map(([name, title, meaning]) =>
    html("div", { class: differs.has(name) ? "differs" : null, title: meaning },
      html("dt", {}, title),
      html("dd", {}, state.counters[name].toLocaleString("en"), differs.has(name) ? html("span", { class: "mark", title: "differs from the run beside it" }, "≠") : null))));
}

/** The same in words, for who has no pointer to hover with. */
export function meanings() {
  const told = [...TITLES.map(([, title, meaning]) => [title, meaning]), ["\u2260", "differs from the run beside it"]];
  return html("details", { class: "meanings" }, html("summary", {}, "What the counters count"),
    html("dl", {}, told.map(([title, meaning]) => html("div", {}, html("dt", {}, title), html("dd", {}, meaning)))));
}

const BEFORE = ". Below 0: what all see first moves back as the others write; what counts is how far two positions are apart";

export function table(run, state, id) {
  const branch = state.branches.get(id);
  if (!branch) return html("p", { class: "none" }, "No branch yet.");
  const standing = state.standing(branch.id), rows = standing.map(([number, from, to, shift]) => {
    const span = state.spans.get(number), own = number === branch.span, begin = span.position + from + shift;
    const blocks = [];
    for (let i = Math.floor(from / run.size); i < Math.ceil(to / run.size); i++) {
      const block = span.blocks[i], refs = state.refs.get(block) ?? 0;
      blocks.push(block === undefined
        ? html("span", { class: "chip missing", title: "not computed yet" }, "·")
        : html("span", { class: "chip", style: `background:${colour(number)}`, "data-block": block, title: `block ${block}, ${refs} ${refs === 1 ? "holder" : "holders"}` }, `${block}`));
    }
    return html("tr", {},
      html("th", { scope: "row" }, html("i", { class: "dot", style: `background:${colour(number)}` }), `${number}`, own ? html("small", {}, " own") : null, span.source === null ? null : html("small", {}, ` copy of ${span.source}`)),
      html("td", {}, fromTo(from, to - 1)),
      html("td", {}, fromTo(begin, begin + to - from - 1), shift ? html("small", { class: "shift", title: span.turn === shift ? "its keys were turned by this much in memory" : "the query is turned: no key is touched" }, ` ${signed(shift)}`) : null),
      html("td", { class: "chips" }, blocks));
  });
  return html("table", { class: "table" },
    html("caption", {}, `What branch ${id} attends to, in order`, standing.some(([span, from, , shift]) => state.spans.get(span).position + from + shift < 0) ? BEFORE : ""),
    html("thead", {}, html("tr", {}, ["span", "tokens", "positions", "blocks"].map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, rows));
}

/** One token: {span, index}. */
export function inspect(run, state, token) {
  const span = token && state.spans.get(token.span);
  if (!span || token.index >= span.tokens.length)
    return html("p", { class: "none" }, "Point at a token, or move to the picture of the branches with Tab and use the arrow keys.");
  const { index } = token, block = span.blocks[Math.floor(index / run.size)], there = index < span.written;
  const event = run.said.get(`${span.id}/${index}`), view = state.seen(span.id);
  const beside = span.weave.spans.filter((other) => other !== span.id);
  const seen = view.reduce((n, [, a, b]) => n + b - a, 0) + beside.reduce((n, other) => n + Math.min(index + 1, state.spans.get(other).tokens.length), 0);
  const facts = [
    ...(meaning(run.word(span, index)) ? [["means", meaning(run.word(span, index))]] : []),
    ["token", `${span.tokens[index]}`], ["branch", `${span.branch}`], ["span", `${span.id}, token ${index}`],
    ["position", `${span.position + index}`],
    ["block", block === undefined ? "none yet" : `${block}`],
    ["slot", block === undefined ? "none yet" : `${block * run.size + (index % run.size)}`],
    ["keys, values", there ? (index < span.again ? "computed again" : "written") : "not computed yet"],
    ["attends to", `${seen + index + 1} tokens${view.length + beside.length ? `: spans ${ranges([...view.map(([s]) => s), ...beside])} and its own` : ""}`],
  ];
  const rivals = event?.data.alternatives ?? [];
  return html("div", { class: "token" },
    html("p", { class: "shown", style: `background:${colour(span.id)}` }, run.word(span, index)),
    html("dl", {}, facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value)))),
    event ? html("div", { class: "rivals" },
      html("p", {}, `sampled with probability ${percent(event.data.logprob)}`),
      rivals.map(([id, logprob, text]) => html("div", { class: id === event.data.token ? "rival chosen" : "rival" },
        html("span", {}, text), html("i", { style: `width:${Math.round(120 * Math.exp(logprob))}px` }), html("span", {}, percent(logprob))))) : html("p", { class: "none" }, index < span.read ? "written by a branch, read again here" : "given, not sampled"));
}

const percent = (logprob) => {
  const p = 100 * Math.exp(logprob);
  return p >= 0.1 ? `${p.toFixed(1)} %` : "< 0.1 %";
};
