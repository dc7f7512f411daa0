// Who attends to whom, for everything that a branch stands on: a row for each token, a column for each, filled where
// the row's token attended to the column's when it was computed. Positions stand at the edges, as the branch counts
// them. Drawn piece by piece, so its cost does not grow with the tokens.
import { colour, minus, signed, svg } from "./svg.js";

/** Rectangles and triangles [{kind, row, column, rows, columns, span}] in tokens, and the pieces with their places. */
export function shapes(state, id) {
  const pieces = [];
  let at = 0;
  for (const [span, from, to, shift] of state.standing(id)) {
    const { position, source } = state.spans.get(span);
    pieces.push({ span, key: source ?? span, from, to, shift, at, position: position + from + shift });
    at += to - from;
  }
  const found = [];
  for (const row of pieces) {
    const rows = row.to - row.from, view = state.seen(row.span), { weave } = state.spans.get(row.span);
    for (const column of pieces) {
      if (column.key === row.key) {
        // Its own span: up to itself.
        if (column === row) found.push({ kind: "triangle", row: row.at, column: row.at, rows, columns: rows, span: row.span });
        else if (column.to <= row.from) found.push({ kind: "rectangle", row: row.at, column: column.at, rows, columns: column.to - column.from, span: column.span });
        continue;
      }
      if (weave.spans.includes(column.span)) found.push(...beside(row, column));
      for (const [span, from, to] of view) {
        if ((state.spans.get(span).source ?? span) !== column.key) continue;
        const start = Math.max(from, column.from), stop = Math.min(to, column.to);
        if (start < stop)
          found.push({ kind: "rectangle", row: row.at, column: column.at + start - column.from, rows, columns: stop - start, span: column.span });
      }
    }
  }
  return { pieces, shapes: found, size: at };
}

/** Of another span of a weave, both from their first token on: up to the same index. */
function beside(row, column) {
  const rows = row.to - row.from, columns = column.to - column.from, both = Math.min(rows, columns);
  const place = { row: row.at, column: column.at, span: column.span };
  const found = [{ ...place, kind: "triangle", rows: both, columns: both }];
  if (rows > both) found.push({ ...place, kind: "rectangle", row: row.at + both, rows: rows - both, columns });
  return found;
}

export function mask(run, state, { width, selected, token }) {
  const { pieces, shapes: found, size } = shapes(state, selected);
  const edge = 40, side = Math.min(width, Math.max(250, Math.min(400, 0.75 * width))), inner = side - edge - 6, unit = inner / Math.max(size, 1);
  const x = (n) => edge + n * unit, y = (n) => edge + n * unit;
  const picture = svg("svg", { width: side, height: side, viewBox: `0 0 ${side} ${side}`, class: "mask", role: "img", "aria-label": describe(run, state, selected) });
  picture.append(svg("rect", { x: edge, y: edge, width: inner, height: inner, class: "ground" }));
  for (const { kind, row, column, rows, columns, span } of found) {
    const [left, right, top, bottom] = [x(column), x(column + columns), y(row), y(row + rows)];
    if (kind === "rectangle") picture.append(svg("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: colour(span) }));
    else picture.append(svg("path", { d: stairs(left, top, rows, unit), fill: colour(span) }));
  }
  let lastRow = -Infinity, lastColumn = -Infinity;
  for (const piece of pieces) {
    picture.append(svg("line", { x1: x(piece.at), x2: x(piece.at), y1: edge - 4, y2: edge + inner, class: "rule" }), svg("line", { x1: edge - 4, x2: edge + inner, y1: y(piece.at), y2: y(piece.at), class: "rule" }));
    if (y(piece.at) - lastRow >= 11) picture.append(svg("text", { x: edge - 6, y: (lastRow = y(piece.at)) + 9, "text-anchor": "end" }, minus(piece.position)));
    if (x(piece.at) - lastColumn >= 24 && x(piece.at) < edge + inner - 14) picture.append(svg("text", { x: (lastColumn = x(piece.at)) + 2, y: edge - 7 }, minus(piece.position)));
  }
  picture.append(svg("text", { x: edge, y: 12, class: "axis" }, "keys, by position →"), svg("text", { x: 3, y: edge, class: "axis", transform: `rotate(90 3 ${edge})` }, "queries →"));
  if (token) {
    const piece = pieces.find((p) => p.span === token.span && token.index >= p.from && token.index < p.to);
    if (piece) picture.append(svg("rect", { x: edge, y: y(piece.at + token.index - piece.from), width: inner, height: Math.max(unit, 2), class: "row" }));
  }
  return picture;
}

/** Causal: each token sees itself and those before it. As steps while they can be seen. */
function stairs(left, top, n, unit) {
  if (unit < 2) return `M${left},${top} L${left + n * unit},${top + n * unit} L${left},${top + n * unit} Z`;
  let path = `M${left},${top}`;
  for (let i = 0; i < n; i++) path += ` H${left + (i + 1) * unit} V${top + (i + 1) * unit}`;
  return `${path} H${left} Z`;
}

export function describe(run, state, id) {
  if (!state.branches.has(id)) return "No branch is chosen.";
  const { pieces, size } = shapes(state, id);
  const told = pieces.map((p) => `span ${p.span} tokens ${p.from} to ${p.to - 1} at positions ${p.position} to ${p.position + p.to - p.from - 1}${p.shift ? ` (moved by ${signed(p.shift)})` : ""}`);
  return `Branch ${id} stands on ${size} tokens: ${told.join("; ")}. Each token attends to those before it in its own span, and to what its span's view held${pieces.some((p) => state.spans.get(p.span).weave.spans.length) ? "; in a weave also to the others' tokens up to the same index" : ""}.`;
}
