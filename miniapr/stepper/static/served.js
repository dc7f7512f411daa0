// The page of `miniapr play`: the kernel is behind the server on loopback that sent it.

import { live } from "./live.js";

const root = document.getElementById("play");
let session = null;

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Miniapr-Key": root.dataset.key },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer: is `miniapr play` still running?");
  }
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  session = said.session;
  return said;
}

live(root, (line) => (session === null ? ask("/open", {}) : ask("/do", { session, line })));
