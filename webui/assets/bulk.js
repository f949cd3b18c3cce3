// Downloads and shares of many frames: those that are selected, or all that the filter picks. Uses the helpers of app.js
// and review.js, which come before it.
"use strict";

const EXPORT_PICKED = 1000;
const SHARE_PICKED = 250;

// The filter as in the address, without what is about the page alone.
function filterNow() {
  const query = new URLSearchParams(location.search);
  for (const name of ["after", "limit", "part"]) { query.delete(name); }
  return query;
}

const named = (cards) => (cards ? frames(cards.length) : filterNow().size ? "what the filter picks" : "all frames");

// ---- export ----

async function exportFrames(cards) {
  const dialog = one("#export");
  if (cards && cards.length > EXPORT_PICKED) {
    one("#bulk-count").textContent = `At most ${EXPORT_PICKED} frames by hand; a filter takes more.`;
    return;
  }
  one(".what", dialog).textContent = named(cards);
  if (!await saidYes(dialog)) { return; }
  const format = one("input[name=format]:checked", dialog).value;
  if (!cards) {
    const query = filterNow();
    query.set("format", format);
    location.assign(`/export?${query}`);
    return;
  }
  const form = one("#export-form");
  form.elements.format.value = format;
  form.elements.frames.value = cards.map((card) => card.dataset.frame).join(",");
  form.requestSubmit();
}

// ---- share ----

async function makeShare(cards) {
  const said = one("#share-said");
  const body = new URLSearchParams({ title: one("#share-name").value, ttl: one("#share-ttl").value });
  if (cards) { body.set("frames", cards.map((card) => card.dataset.frame).join(",")); } else { body.set("query", filterNow()); }
  said.textContent = "…";
  const answer = await ask("/api/v1/shares", { method: "POST", body }).catch(() => null);
  const share = answer && await answer.json().catch(() => null);
  if (!share?.url) {
    said.textContent = share?.detail ?? "The server did not answer.";
    return;
  }
  const done = await copy(new URL(share.url, location.href).href, one("#share-link"));
  said.textContent = `${done ? "Copied" : "Copy it from here"}: open until ${dayAndTime.format(new Date(share.expires))}. `;
  const all = document.createElement("a");
  all.href = "/shares";
  all.textContent = "All shares";
  said.append(all);
}

function shareFrames(cards) {
  const dialog = one("#share");
  if (cards && cards.length > SHARE_PICKED) {
    one("#bulk-count").textContent = `At most ${SHARE_PICKED} frames by hand; a filter takes more.`;
    return;
  }
  one(".what", dialog).textContent = `${named(cards)}${cards ? "" : ", later ones too"}`;
  one("#share-said").textContent = "";
  one("#share-link").hidden = true;
  one("form", dialog).onsubmit = (event) => {
    if (event.submitter.value !== "yes") { return; }
    event.preventDefault(); // the dialog stays, with the link
    makeShare(cards);
  };
  dialog.showModal();
}

function startWhole() {
  one("#whole-export")?.addEventListener("click", (event) => {
    if (one("#export")) {
      event.preventDefault();
      exportFrames(null);
    }
  });
  one("#whole-share")?.addEventListener("click", (event) => {
    event.preventDefault();
    shareFrames(null);
  });
}

startWhole();
