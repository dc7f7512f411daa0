// The branches as a history in the manner of version control: a lane for each, in the order of their tree, tokens at their
// positions, forks and joins as curves; beside a lane what its branch scored and how it ended. What a branch sees as moved is drawn again, as an outline, where it counts as being.
import { fared, rows } from "./rows.js";
import { colour, svg } from "./svg.js";

const NAMES = 34, TOP = 22, LETTER = 6.2; // pixels
const CONTROL = /^<\/?[^<>\s]+>$/, SMALL = { word: 8.5, control: 6 }; // the smallest letters, in pixels

export function graph(run, state, { width, reach, deepest, selected, token, zoom }) {
  const order = rows(state), lane = new Map(order.map(({ branch }, number) => [branch.id, number]));
  const few = lane.size <= 4, many = lane.size > (width > 420 ? 12 : 4); // too many for words
  const high = many ? 20 : few ? 38 : 30, bar = few ? 14 : 11;
  const indent = Math.min(12, (0.2 * width) / Math.max(deepest, 1)), left = NAMES + indent * deepest;
  const right = run.scored ? Math.min(150, 0.3 * width) : width < 700 ? 10 : 60; // room for what is said of the longest lane
  const word = Math.min(90, 10 + LETTER * run.longest), fits = (width - left - right) / Math.max(reach, 8);
  const cell = zoom ? word : Math.min(Math.max(26, word), fits);
  const wide = Math.max(width, left + right + cell * reach), tall = TOP + high * Math.max(lane.size, 1) + 6;
  const x = (position) => left + position * cell;
  const y = (branch) => TOP + lane.get(branch) * high;
  const picture = svg("svg", { width: wide, height: tall, viewBox: `0 0 ${wide} ${tall}`, class: "graph", role: "img" });
  picture.append(ruler(x, reach, cell, tall));

  for (const { branch, depth } of order) {
    const up = branch.id, parent = above(state, branch, lane);
    const first = state.spans.get(branch.first);
    if (parent !== null)
      picture.append(curve(x(first.position), y(parent) + bar / 2, x(first.position), y(up) + bar / 2, colour(first.id), cell));
    for (const source of branch.sources) {
      const from = state.spans.get(source.span), last = from.position + from.tokens.length;
      if (lane.has(source.branch) && source.branch !== up)
        picture.append(curve(x(last), y(source.branch) + bar / 2, x(start(state, branch)), y(up) + bar / 2, colour(from.id), cell, true));
    }
    if (selected === up)
      picture.append(svg("rect", { x: 2, y: y(up) - 4, width: wide - 4, height: high - 4, rx: 5, class: "selected" }));
    const at = 8 + indent * depth;
    if (parent !== null && depth) picture.append(svg("path", { d: `M${at - indent + 3},${y(parent) + bar + 2} V${y(up) + bar / 2} H${at - 2}`, class: "elbow" }));
    picture.append(svg("text", { x: at, y: y(up) + bar - 2, class: branch.alive ? "name" : "name gone" }, `${up}`));
    for (const [id, from, to, shift] of branch.view) {
      const piece = state.spans.get(id);
      if (shift || piece.source !== null)
        picture.append(svg("rect", {
          x: x(piece.position + from + shift) + 0.5, y: y(up) + 0.5, width: Math.max((to - from) * cell - 1, 1), height: bar - 1, rx: 2,
          fill: piece.source !== null ? colour(id) : "none", stroke: colour(piece.source ?? id), class: "moved",
        }));
    }
    for (const own of state.spans.values())
      if (own.branch === up && own.source === null) picture.append(...cells(run, own, x, y(up), bar, cell));
    const words = fared(branch), room = words.join(" · ").length * LETTER;
    if (words.length) picture.append(svg("text", { x: Math.min(x(state.next(up)) + 6, wide - room), y: y(up) + bar - 2, class: "let" }, words.join(" · ")));
    if (!many) picture.append(caption(run, state, branch, x, y(up) + bar + 12, wide));
  }
  if (token) {
    const span = state.spans.get(token.span);
    if (span && token.index < span.tokens.length && lane.has(span.branch))
      picture.append(svg("rect", { x: x(span.position + token.index) - 1, y: y(span.branch) - 2, width: Math.max(cell, 3) + 2, height: bar + 4, rx: 3, class: "cursor" }));
  }
  picture.setAttribute("aria-label", describe(run, state));
  return {
    picture, cell,
    /** The token under a point of the picture. */
    find(px, py) {
      const number = Math.floor((py - TOP + 6) / high), at = Math.floor((px - left) / cell);
      const branch = [...lane].find(([, n]) => n === number)?.[0];
      if (branch === undefined) return null;
      for (const span of state.spans.values())
        if (span.branch === branch && span.source === null && at >= span.position && at < span.position + span.tokens.length)
          return { branch, span: span.id, index: at - span.position };
      return { branch };
    },
    head: x(Math.max(0, ...[...state.branches.values()].filter((b) => b.alive).map((b) => state.next(b.id)))),
  };
}

/** The nearest branch above that has a lane; null: there is none. */
function above(state, branch, lane) {
  let parent = branch.parent;
  while (parent !== null && !lane.has(parent)) parent = state.branches.get(parent)?.parent ?? null;
  return parent;
}

/** Where a joined branch goes on: where the text of its join begins. */
function start(state, branch) {
  return state.spans.get(branch.joined).position;
}

function cells(run, span, x, y, bar, cell) {
  const found = [], n = span.tokens.length;
  if (!n) return found;
  const part = (from, to, extra) =>
    svg("rect", { x: x(span.position + from) + (cell > 5 ? 0.75 : 0), y, width: Math.max((to - from) * cell - (cell > 5 ? 1.5 : 0), 0.75), height: bar, rx: cell > 5 ? 2.5 : 1, fill: colour(span.id), class: extra });
  const kind = (i) => (i >= span.written ? "cell open" : i < span.again ? "cell again" : "cell");
  if (cell > 3)
    for (let i = 0; i < n; i++) found.push(part(i, i + 1, kind(i)));
  else
    for (let i = 0, from = 0; i < n; i++)
      if (i === n - 1 || kind(i + 1) !== kind(i)) (found.push(part(from, i + 1, kind(i))), (from = i + 1));
  if (cell > 16)
    for (let i = 0; i < n; i++) {
      const [word, size, kind] = written(run.word(span, i), cell);
      if (word) found.push(svg("text", { x: x(span.position + i) + cell / 2, y: y + bar - (bar > 11 ? 3.5 : 2), class: kind, style: `font-size:${size}px` }, word));
    }
  return found;
}

/** A word in letters that fit, their size, and its class. A part of a word says something else: then better none. But a
 * control word may be begun: "<t…>" says more than an empty box. */
function written(word, cell) {
  const control = CONTROL.test(word), size = (text) => Math.min(10.5, ((control ? 1.4 : 1.6) * (cell - 2)) / text.length);
  if (!control) return [size(word) >= SMALL.word ? word : "", size(word), "word"];
  const whole = size(word) >= SMALL.control, text = whole ? word : `${word.slice(0, word[1] === "/" ? 3 : 2)}…>`;
  return [text, size(text), "word control"];
}

/** The end of what a branch wrote, under its lane. */
function caption(run, state, branch, x, y, wide) {
  const span = state.spans.get(branch.span), first = state.spans.get(branch.first);
  const words = span.tokens.slice(-40).map((id) => run.text(id));
  const at = Math.min(x(Math.max(first.position, span.position)), wide - 170), room = Math.floor((wide - at) / LETTER);
  let text = words.join(" ").replace(/\s+/g, " ");
  if (text.length > room) text = `…${text.slice(-(room - 1))}`;
  return svg("text", { x: at, y, class: "caption" }, text);
}

function curve(x0, y0, x1, y1, stroke, cell, join) {
  const bend = Math.max(14, Math.min(60, cell * 3)), c0 = join ? x0 + bend : x0 - 0.1, c1 = join ? x1 - bend * 0.2 : x1 - bend * 0.7;
  const path = join ? `M${x0},${y0} C${c0},${y0} ${c1 - bend},${y1} ${x1},${y1}` : `M${x0 - 6},${y0} C${c1 + bend * 0.4},${y0} ${c1},${y1} ${x1},${y1}`;
  return svg("path", { d: path, fill: "none", stroke, class: join ? "join" : "fork" });
}

function ruler(x, reach, cell, tall) {
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((n) => n * cell >= 42) ?? 10000;
  const marks = svg("g", { class: "ruler" });
  for (let at = 0; at <= reach; at += every)
    marks.append(svg("line", { x1: x(at), x2: x(at), y1: 14, y2: tall }), svg("text", { x: x(at) + 2, y: 11 }, `${at}`));
  return marks;
}

/** The whole picture in words. */
export function describe(run, state) {
  const lines = rows(state).map(({ branch }) => {
    const span = state.spans.get(branch.span), of = branch.parent === null ? "" : `, child of ${branch.parent}`;
    const joined = branch.sources.length ? `, joined from ${branch.sources.map((s) => s.branch).join(", ")}` : "";
    const text = span.tokens.slice(-12).map((id) => run.text(id)).join(" ");
    return `branch ${branch.id}${of}${joined}${branch.alive ? "" : ` (${branch.end})`}: next position ${state.next(branch.id)}, ` +
      `sees ${branch.view.reduce((n, [, a, b]) => n + b - a, 0)} tokens of others, ends with "${text}"${branch.score === undefined ? "" : `, ${fared(branch).join(", ")}`}`;
  });
  return `Branches. ${lines.join(". ") || "None yet"}.`;
}
