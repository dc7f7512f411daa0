// Control by the model: single tokens for plan, thread, end and join (miniapr/methods/grammar.py).

const NAMES = ["plan", "plan_end", "thread", "thread_end", "join", "eos", "item", "child"];

/** Ids of control tokens by their roles, from their names; `ends`: what ends a stretch of decoding. */
export function controlOf(tokenizer, names) {
  const control = Object.fromEntries(NAMES.filter((name) => name in names).map((name) => [name, tokenizer.id(names[name])]));
  return { ...control, special: new Set(Object.values(control)), ends: [control.plan_end, control.thread_end, control.eos] };
}

/** The items of the plan that `tokens` end with, none if it is none. Ignored are items that are empty, that repeat
 * another, that hold a control token, and those beyond `width`. */
export function readPlan(tokens, control, width) {
  const begin = tokens.lastIndexOf(control.plan);
  if (tokens.at(-1) !== control.plan_end || begin < 0) return [];
  const written = [[]];
  for (const token of tokens.slice(begin + 1, -1)) {
    if (token === control.item) written.push([]);
    else written.at(-1).push(token);
  }
  const items = control.item === undefined ? written[0].map((token) => [token]) : written, found = new Map();
  for (const item of items)
    if (item.length && !item.some((token) => control.special.has(token)) && found.size < width) found.set(`${item}`, item);
  return [...found.values()];
}
