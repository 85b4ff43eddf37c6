"use strict";
// Refreshes the content every few seconds while the tab is seen. Everything works without this script.
const part = document.querySelector("main[data-every]");
const stale = document.getElementById("stale");
const focusable = "a, button, input, select, summary";
let fresh = new Date();
let busy = false;

function swap(text) {
  const at = [...part.querySelectorAll(focusable)].indexOf(document.activeElement);
  const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
  part.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (at >= 0) part.querySelectorAll(focusable)[at]?.focus({ preventScroll: true });
}

async function refresh() {
  const inForm = part.querySelector("form")?.contains(document.activeElement);
  const ticked = part.querySelector("input:checked");
  if (busy || document.hidden || inForm || ticked || !getSelection().isCollapsed) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { "X-Part": "1" }, signal: AbortSignal.timeout(12000) });
    if (!answer.ok) throw new Error(answer.status === 401 ? "you are signed out; reload it" : `answer ${answer.status}`);
    swap(await answer.text());
    fresh = new Date();
    stale.hidden = true;
  } catch (error) {
    stale.textContent = `Stale since ${fresh.toISOString().slice(11, 19)} UTC: the page cannot be refreshed (${error.message}). It goes on trying.`;
    stale.hidden = false;
  } finally {
    busy = false;
  }
}

if (part) {
  setInterval(refresh, Number(part.dataset.every) * 1000);
  document.addEventListener("visibilitychange", refresh);
}
