// Frames in words.

/** Whether what event j computes was decoded before and only waited for it. */
function decodedBefore(events, j) {
  const { branch } = events[j];
  if (branch === null) return false;
  for (let i = j - 1; i >= 0; i--) {
    const { kind, branch: other } = events[i];
    if (other === branch && (kind === "decoded" || kind === "computed")) return kind === "decoded";
  }
  return false;
}

/** One sentence on what frame i of a run does. */
export function tell(run, i) {
  const frame = run.frames[i], events = run.events.slice(frame.first, frame.last + 1);
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
  const computed = events.flatMap((e, k) => (e.kind === "computed" ? [[e.data.stop - e.data.start, decodedBefore(run.events, frame.first + k)]] : []));
  const waited = computed.filter(([, was]) => was).length, filled = computed.reduce((n, [count]) => n + count, 0) - waited;
  if (waited && !decoded.length) parts.push(`Keys and values of ${waited === 1 ? "the token" : `${waited} tokens`} decoded last are computed`);
  if (filled > 0) parts.push(`${some(filled, "token")} prefilled`);
  const stopped = of("stopped").map((e) => e.branch);
  if (stopped.length) parts.push(`${named(stopped)} ${stopped.length === 1 ? "stops" : "stop"}`);
  for (const e of of("preempted")) parts.push(`request ${e.request} gives up its blocks`);
  const gone = [...of("released"), ...of("aborted")].filter((e) => e.branch !== null).map((e) => e.branch);
  if (gone.length) parts.push(`${named(gone)} let go`);
  const scored = new Map(of("scored").map((e) => [e.branch, e.data.score])), [[one, score]] = scored.size ? scored : [[]];
  if (scored.size) parts.push(scored.size === 1 ? `branch ${one} scores ${Number(score.toPrecision(3))}` : `${scored.size} branches are scored`);
  const ended = of("ended").map((e) => e.branch);
  if (ended.length) parts.push(`${named(ended)} ${ended.length === 1 ? "ends" : "end"} with the thought`);
  return parts.join("; ") || "Nothing changes for the branches";
}

/** Branches by their numbers, or how many they are. */
function named(ids) {
  if (ids.length === 1) return `branch ${ids[0]}`;
  return ids.length > 6 ? `${ids.length} branches` : `branches ${ids.join(", ")}`;
}

const NAMES = {
  stitch: "stitch", stitch_contiguous: "stitch, contiguous", stitch_copied: "stitch, copied", reprefill: "re-prefill",
};

const joinName = (how) => NAMES[how] ?? how;

function joining({ branch, data }, some) {
  const { recomputed, bytes_moved: moved, keys_shifted: turned } = data;
  const cost = [];
  if (recomputed) cost.push(`${some(recomputed, "token")} to compute again`);
  if (moved) cost.push(`${moved.toLocaleString("en")} bytes moved`, `${some(turned, "key")} turned`);
  const end = data.position + data.tokens.length;
  return `Branch ${branch} joins ${data.children.join(", ")} by ${joinName(data.how)}: ` +
    `${cost.join(", ") || "nothing computed, nothing moved"}; it goes on at position ${end}`;
}
