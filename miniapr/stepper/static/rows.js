// The branches as rows, in the order of their tree: each below its parent, with all that came from it, depth first.

/** [{branch, depth}]; depth: how many rows above it it comes from. A branch that wrote nothing has no row if it is only a
 * way to its one child, or was let go; its child takes its place. */
export function rows(state) {
  const below = new Map(), wrote = new Set(), found = [];
  for (const branch of state.branches.values()) {
    const parent = state.branches.has(branch.parent) ? branch.parent : null;
    below.set(parent, [...(below.get(parent) ?? []), branch]);
  }
  for (const span of state.spans.values()) if (span.tokens.length && span.source === null) wrote.add(span.branch);
  const visit = (branch, depth) => {
    const children = below.get(branch.id) ?? [];
    const folded = !wrote.has(branch.id) && (children.length === 1 || (!branch.alive && !children.length));
    if (!folded) found.push({ branch, depth });
    for (const child of children) visit(child, folded ? depth : depth + 1);
  };
  for (const root of below.get(null) ?? []) visit(root, 0);
  return found;
}

/** What is known of how a branch fared, in a few words: what it scored, how often a search came by, whether it was let
 *  go. That it was joined is drawn. */
export function fared({ score, visits, alive, end }) {
  const scored = score === undefined ? [] : [`score ${Number(score.toPrecision(3))}`];
  const often = visits === undefined ? [] : [`${visits} ${visits === 1 ? "visit" : "visits"}`];
  const how = !alive && end === "released" ? [end] : !alive && end === "joined" ? [] : scored.length && !often.length ? ["kept"] : [];
  return [...scored, ...often, ...how];
}
