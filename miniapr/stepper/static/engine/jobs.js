// What the next pass computes: stretches of spans (miniapr/engine/jobs.py, scheduler.py).

const BATCH = 512; // rows of one forward pass

/** [{branch, span, start, stop}]: whatever the `wanted` branches are behind with, single tokens first, as much as there is
 * room for. `holders`: all branches of the tree. */
export function jobsOf(wanted, holders) {
  const behind = wanted.filter((branch) => !branch.ready).sort((one, other) => one.id - other.id);
  const alone = behind.filter(({ span }) => !span.weave).map((branch) => [branch, branch.span.written, branch.span.tokens.length]);
  const wishes = [...alone, ...ofWeaves(behind, holders)], single = ([, start, stop]) => stop - start === 1;
  let room = BATCH;
  return [...wishes.filter(single), ...wishes.filter((wish) => !single(wish))].flatMap(([what, start, stop]) => {
    if (room <= 0) return [];
    const jobs = what.spans ? together(what, start, stop, room, holders) : [{ branch: what, span: what.span, start, stop: Math.min(stop, start + room) }];
    for (const job of jobs) room -= job.stop - job.start;
    return jobs;
  });
}

/** The indices of each weave that can be computed, up to the one that is wanted: not yet those at which a member that
 * decodes has no token, for the others will see it. */
function ofWeaves(behind, holders) {
  const decoding = new Set(holders.filter((branch) => branch.goal).map((branch) => branch.span)), woven = new Map();
  for (const { span } of behind) if (span.weave) woven.set(span.weave, Math.max(woven.get(span.weave) ?? 0, span.tokens.length));
  return [...woven].flatMap(([weave, last]) => {
    const stop = Math.min(last, ...weave.spans.filter((span) => decoding.has(span)).map((span) => span.tokens.length));
    const begun = weave.spans.filter((span) => span.written < Math.min(stop, span.tokens.length)).map((span) => span.written);
    const start = Math.min(stop, ...begun);
    return start < stop ? [[weave, start, stop]] : [];
  });
}

/** The tokens of all members of a weave that fit into so many rows, by whole indices: those of one see each other. */
function together(weave, start, stop, room, holders) {
  const last = Math.min(stop, start + Math.max(1, Math.floor(room / weave.spans.length)));
  return weave.spans.map((span) => [span, Math.min(last, span.tokens.length)]).filter(([span, end]) => span.written < end)
    .map(([span, end]) => ({ branch: holders.find((one) => one.span === span), span, start: span.written, stop: end }));
}
