// What a person does to frames: selects many of them in the gallery, walks through it by keyboard, and judges one frame
// after the other, by mouse or keyboard. Uses the small helpers of app.js, which comes before it.
"use strict";

const PER_REQUEST = 100;

async function post(act, frames, more = {}) {
  const answer = await ask("/api/v1/actions", {
    method: "POST", headers: { "Content-Type": "application/json" }, keepalive: true,
    body: JSON.stringify({ act, frames, ...more }),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) { throw new Error(said.detail ?? `the server said ${answer.status}`); }
  if (said.failed.length) { throw new Error(said.failed[0].detail); }
  return said;
}

const frames = (count) => `${count} ${count === 1 ? "frame" : "frames"}`;
const typing = (event) => event.ctrlKey || event.metaKey || event.altKey ||
  event.target.closest("input:not([type=checkbox]), select, textarea, dialog");

// ---- selection ----

const cardsNow = () => all("#grid .card");
const picked = () => all("#grid .card.picked");

function showPicked() {
  const count = picked().length;
  one("#bulk").hidden = count === 0;
  one("#bulk-count").textContent = `${frames(count)} selected`;
  document.body.classList.toggle("picking", count > 0);
}

function pick(card, on) {
  card.classList.toggle("picked", on);
  one(".pick input", card).checked = on;
}

let last = null; // the card that was picked last: shift picks from there

function pickUpTo(card, on) {
  const cards = cardsNow();
  const [from, to] = [cards.indexOf(last), cards.indexOf(card)].sort((a, b) => a - b);
  for (const each of from < 0 ? [card] : cards.slice(from, to + 1)) { pick(each, on); }
}

function pickAll(on) {
  for (const card of cardsNow()) { pick(card, on); }
  showPicked();
}

// The mark of what was just done, until the page is made again.
function markCard(card, act) {
  const said = one(".said", card);
  const icons = { pin: "pin", accepted: "done", rejected: "cross", wanted: "tag" };
  const kind = act === "pin" || act === "unpin" ? "pinned" : "judged";
  for (const old of all(".mark", said)) {
    if (old.classList.contains("said-pinned") === (kind === "pinned")) { old.remove(); }
  }
  if (!icons[act]) { return; }
  const mark = document.createElement("span");
  mark.className = `mark said-${kind === "pinned" ? kind : act}`;
  mark.title = act;
  mark.innerHTML = `<svg aria-hidden="true"><use href="#i-${icons[act]}"/></svg><span>${act}</span>`;
  said.append(mark);
}

async function inPieces(act, cards, more) {
  let done = 0;
  for (let at = 0; at < cards.length; at += PER_REQUEST) {
    const piece = cards.slice(at, at + PER_REQUEST);
    await post(act, piece.map((card) => card.dataset.frame), more);
    for (const card of piece) {
      if (act === "remove") { card.classList.add("removed"); } else { markCard(card, act); }
      pick(card, false);
    }
    done += piece.length;
  }
  return done;
}

// An order for the remotes is taken at once and carried out beside; this follows it to its end.
async function removeEverywhere(cards, force, say) {
  const failed = [];
  for (let at = 0; at < cards.length; at += PER_REQUEST) {
    const piece = cards.slice(at, at + PER_REQUEST);
    const answer = await ask("/api/v1/removals", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ frames: piece.map((card) => card.dataset.frame), force }),
    });
    let order = await answer.json().catch(() => ({}));
    if (!answer.ok) { throw new Error(order.detail ?? `the server said ${answer.status}`); }
    while (order.state !== "done") {
      await wait(300);
      order = await (await ask(`/api/v1/removals/${order.id}`)).json();
      if (!order.state) { throw new Error("creel was restarted meanwhile: delete them again"); }
      say(`Deleting everywhere: ${at + order.done + order.failed.length} of ${cards.length}`);
    }
    const left = new Set(order.failed.map((one) => one.frame));
    for (const card of piece.filter((each) => !left.has(each.dataset.frame))) {
      card.classList.add("removed");
      pick(card, false);
    }
    failed.push(...order.failed);
  }
  if (failed.length) { throw new Error(`${frames(failed.length)} left: ${failed[0].detail}`); }
  return cards.length;
}

// Opens a dialog; resolves to whether the answer is yes.
async function saidYes(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}

// Resolves to null when the answer is no.
async function askRemoval(cards) {
  const dialog = one("#ask");
  one(".what", dialog).textContent = frames(cards.length);
  const here = one("input[value=here]", dialog);
  if (here) { here.checked = true; }
  let text = `${frames(cards.length)} will lose the full picture here.`;
  try {
    const plan = await post("remove", cards.slice(0, PER_REQUEST).map((card) => card.dataset.frame), { dry_run: true, force: true });
    text += plan.pinned + plan.owed > 0 ? ` ${plan.pinned} pinned and ${plan.owed} not uploaded yet are among them.` : "";
    one("#ask-force").hidden = plan.pinned + plan.owed === 0;
  } catch (error) {
    text += ` (${error.message})`;
  }
  one("#ask-text").textContent = text;
  one("#ask-force input").checked = false;
  const yes = await saidYes(dialog);
  const everywhere = one("input[value=everywhere]", dialog)?.checked;
  return yes ? { everywhere, force: one("#ask-force input").checked } : null;
}

async function bulkAct(act) {
  const cards = picked();
  const elsewhere = { export: exportFrames, share: shareFrames }[act]; // of bulk.js
  if (elsewhere) {
    elsewhere(cards);
    return;
  }
  const more = act === "remove" ? await askRemoval(cards) : {};
  if (!cards.length || !more) { return; }
  const note = one("#bulk-count");
  note.textContent = "…";
  try {
    const { everywhere, ...rest } = more;
    const done = everywhere ? await removeEverywhere(cards, rest.force, (text) => { note.textContent = text; })
      : await inPieces(act, cards, rest);
    showPicked();
    one("#bulk-said").textContent = `${frames(done)}: done`;
  } catch (error) {
    showPicked();
    note.textContent = error.message;
  }
}

// ---- the gallery by keyboard ----

function columns() {
  return getComputedStyle(one("#grid .grid")).gridTemplateColumns.split(" ").length;
}

function step(card, by) {
  const cards = cardsNow();
  const to = cards[Math.max(0, Math.min(cards.length - 1, (card ? cards.indexOf(card) : -by) + by))];
  const link = to && one("a", to);
  link?.focus();
  link?.scrollIntoView({ block: "nearest" });
}

function onGridKey(event) {
  if (typing(event)) { return; }
  const card = document.activeElement.closest?.(".card");
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns(), Home: -Infinity, End: Infinity };
  const button = picked().length && one(`#bulk [data-key="${CSS.escape(event.key)}"]`);
  if (moves[event.key] && (card || event.key.startsWith("Arrow"))) {
    event.preventDefault();
    step(card, moves[event.key]);
  } else if ((event.key === "x" || event.key === " ") && card && event.target.tagName !== "INPUT") {
    event.preventDefault();
    pick(card, !card.classList.contains("picked"));
    last = card;
    showPicked();
  } else if (event.key === "Escape" && picked().length) {
    pickAll(false);
  } else if (button && event.key) {
    event.preventDefault();
    button.click();
  }
}

function startPicking() {
  const grid = one("#grid");
  if (!grid) { return; }
  let shifted = false;
  grid.addEventListener("click", (event) => { shifted = event.shiftKey; }, true);
  grid.addEventListener("change", (event) => {
    const card = event.target.closest(".card");
    if (shifted) { pickUpTo(card, event.target.checked); } else { pick(card, event.target.checked); }
    last = card;
    showPicked();
  });
  // While some are selected, a click on a card selects as well.
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".card > a")?.parentElement;
    if (!card || !picked().length || event.ctrlKey || event.metaKey || event.detail === 0) { return; }
    event.preventDefault();
    if (event.shiftKey) { pickUpTo(card, true); } else { pick(card, !card.classList.contains("picked")); }
    last = card;
    showPicked();
  });
  for (const button of all("#bulk [data-act]")) { button.addEventListener("click", () => bulkAct(button.dataset.act)); }
  one("#bulk-all").addEventListener("click", () => pickAll(true));
  one("#bulk-none").addEventListener("click", () => pickAll(false));
  document.addEventListener("keydown", onGridKey);
}

// ---- judgement ----

// The next frame's page is fetched while this one is looked at, and takes its place without a load.
let ahead = null;

async function fetchFrame(href) {
  const answer = await ask(href, { headers: { Accept: "text/html" } });
  if (!answer.ok) { throw new Error(`the server said ${answer.status}`); }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const picture = one("#picture", page);
  if (picture) { new Image().src = picture.getAttribute("src"); }
  return page;
}

function lookAhead() {
  const next = one(".frame a[rel=next]");
  ahead = next ? { href: next.href, page: fetchFrame(next.href).catch(() => null) } : null;
}

function showFrame(page) {
  one(".frame").replaceWith(document.adoptNode(one(".frame", page)));
  document.title = page.title;
  showTimes(one(".frame"));
  startFrame();
  startJudging();
}

async function goOn(said) {
  if (!ahead) {
    said.textContent += " That was the last frame.";
    return;
  }
  const { href, page } = ahead;
  const next = await page;
  if (!next) {
    location.assign(href);
    return;
  }
  history.pushState(null, "", href);
  showFrame(next);
  one("#judge-said").textContent = said.textContent;
}

const words = {
  accepted: "right", rejected: "wrong", "wrong-class": "wrong class", missed: "missed object", wanted: "for labeling",
  none: "taken back", pin: "pinned", unpin: "unpinned",
};

function pressed(act) {
  for (const button of all("#judge [data-act]")) {
    const about = button.dataset.key === "p";
    const on = act === button.dataset.act && act !== "none";
    if (about && (act === "pin" || act === "unpin")) {
      button.setAttribute("aria-pressed", String(act === "pin"));
      button.dataset.act = act === "pin" ? "unpin" : "pin";
    } else if (!about && act !== "pin" && act !== "unpin") {
      button.setAttribute("aria-pressed", String(on));
    }
  }
}

// The judgement is sent on its way and the next frame shown at once; what could not be saved is said, with a way back.
async function judge(act, more = {}) {
  const frame = one(".frame").dataset.frame;
  const where = location.href;
  const said = one("#judge-said");
  const saved = post(act, [frame], more);
  saved.catch((error) => {
    const link = document.createElement("a");
    link.href = where;
    link.textContent = "that frame";
    one("#judge-said").replaceChildren(`Not saved: ${error.message}. Back to `, link);
  });
  pressed(act);
  const stays = act === "none" || act === "pin" || act === "unpin" || !one("#judge-on").checked;
  if (!stays) {
    said.textContent = `The one before: ${words[act]}${more.class ? ` (${more.class})` : ""}.`;
    await goOn(said);
  } else if (await saved.then(() => true, () => false)) {
    said.textContent = `Saved: ${words[act]}${more.class ? ` (${more.class})` : ""}.`;
  }
}

function chooseClass(act) {
  const choice = one("#choice");
  const select = one("#choice-class");
  one("span", choice).textContent = act === "missed" ? "What was missed?" : "The right class:";
  choice.hidden = false;
  select.value = "";
  select.onchange = () => { if (select.value) { judge(act, { class: select.value }); } };
  select.onkeydown = (event) => {
    const digit = select.options[Number(event.key)];
    if (event.key === "Escape") {
      choice.hidden = true;
      one(`#judge [data-act="${act}"]`).focus();
    } else if (event.key >= "1" && event.key <= "9" && digit) {
      judge(act, { class: digit.value });
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  select.focus();
}

function decide(act) {
  if (act === "wrong-class" || act === "missed") { chooseClass(act); } else { judge(act); }
}

function startJudging() {
  const panel = one("#judge");
  if (!panel) { return; }
  panel.hidden = false;
  const on = one("#judge-on");
  on.checked = recall("creel.judge-on") !== "off";
  on.addEventListener("change", () => remember("creel.judge-on", on.checked ? "on" : "off"));
  for (const button of all("[data-act]", panel)) { button.addEventListener("click", () => decide(button.dataset.act)); }
  lookAhead();
}

function onJudgeKey(event) {
  const button = !typing(event) && one(`#judge [data-key="${CSS.escape(event.key)}"]`);
  if (button) {
    event.preventDefault();
    decide(button.dataset.act);
  }
}

startPicking();
startJudging();
if (one("#judge")) {
  document.addEventListener("keydown", onJudgeKey);
  window.addEventListener("popstate", () => location.reload());
}
