// The block pool: a square for each block, in the colour of the span that owns it, filled as far as its keys and
// values are written; a number (small: a dot) where more than one holds it.
import { colour, html, ranges } from "./svg.js";

function shown(run, state) {
  return Math.min(run.about.blocks, Math.max(run.lastBlock, 15, ...state.refs.keys()) + 1);
}

/** Blocks of a branch's view and of its own span. */
export function blocksOf(run, state, id) {
  const branch = state.branches.get(id), found = new Set();
  if (!branch) return found;
  for (const [span, from, to] of state.standing(branch.id)) {
    const { blocks } = state.spans.get(span);
    for (let i = Math.floor(from / run.size); i < Math.ceil(to / run.size); i++) if (blocks[i] !== undefined) found.add(blocks[i]);
  }
  return found;
}

/** How many tokens of a block are written. */
export function fill(run, state, block) {
  const span = state.spans.get(state.owner.get(block));
  return span ? Math.max(0, Math.min(run.size, span.written - span.blocks.indexOf(block) * run.size)) : 0;
}

/** On a canvas: a large pool has thousands of blocks. `find(x, y)` is the block under a point of it. */
export function pool(run, state, { width, selected }) {
  const count = shown(run, state), side = count <= 256 ? 22 : count <= 1024 ? 13 : 7, gap = side > 10 ? 4 : 2, pitch = side + gap;
  const columns = Math.max(4, Math.floor((width + gap) / pitch)), high = Math.ceil(count / columns) * pitch - gap + 2;
  const sharp = globalThis.devicePixelRatio || 1;
  const picture = html("canvas", { width: width * sharp, height: high * sharp, style: `width:${width}px;height:${high}px`, role: "img", "aria-label": describe(run, state) });
  const find = (x, y) => {
    const block = Math.floor(y / pitch) * columns + Math.floor(x / pitch);
    return x < columns * pitch && block < count ? block : null;
  };
  const draw = () => {
    const style = getComputedStyle(picture), name = (which) => style.getPropertyValue(which), pen = picture.getContext("2d");
    const seen = blocksOf(run, state, selected), free = name("--free"), line = name("--line"), ink = name("--ink");
    pen.scale(sharp, sharp);
    pen.font = "700 12px system-ui, sans-serif";
    pen.textAlign = "center";
    for (let block = 0; block < count; block++) {
      const x = (block % columns) * pitch + 1, y = Math.floor(block / columns) * pitch + 1;
      const refs = state.refs.get(block) ?? 0, owner = state.owner.get(block), held = refs > 0 && owner !== undefined;
      pen.fillStyle = free;
      pen.fillRect(x, y, side, side);
      if (held) {
        const part = (side * fill(run, state, block)) / run.size;
        pen.fillStyle = colour(owner);
        pen.fillRect(x, y + side - part, side, part);
      }
      pen.strokeStyle = held && seen.has(block) ? ink : line;
      pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
      if (refs > 1 && held) {
        pen.fillStyle = 2 * fill(run, state, block) < run.size ? ink : "#1d2733"; // what it stands on: the ground, or a colour
        if (side > 16) pen.fillText(`${refs}`, x + side / 2, y + side / 2 + 4);
        else pen.fillRect(x + side / 3, y + side / 3, side / 3, side / 3);
      }
    }
  };
  return { picture, find, draw };
}

export function describe(run, state) {
  const used = [...state.refs.keys()], groups = new Map();
  for (const [block, refs] of state.refs) if (refs > 1) groups.set(refs, [...(groups.get(refs) ?? []), block]);
  const shared = [...groups].sort((a, b) => b[0] - a[0]).map(([refs, blocks]) => `blocks ${ranges(blocks)} have ${refs} holders`);
  return `Block pool: ${used.length} of ${run.about.blocks} blocks of ${run.size} tokens in use. ${shared.join("; ") || "None is shared"}.`;
}
