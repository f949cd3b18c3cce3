// What the pages can do beyond what they already do without script: times in the viewer's zone, filters that
// apply at once, scrolling without end, boxes by threshold, links to the clipboard, a status that keeps up.
"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// Private windows may refuse storage; then a choice lasts for the page.
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* as said */ } };
const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

// ---- times ----

const dayAndTime = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const timeOnly = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function showTimes(within) {
  const today = new Date().toDateString();
  for (const time of all("time[datetime]", within)) {
    const at = new Date(time.dateTime);
    const short = time.closest(".card");
    time.title = time.dateTime;
    time.textContent = !short ? whole.format(at) : at.toDateString() === today ? timeOnly.format(at) : dayAndTime.format(at);
  }
}

const two = (number) => String(number).padStart(2, "0");

function localField(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

// ---- boxes ----

function startBoxes() {
  const button = one("#toggle-boxes");
  if (!button) { return; }
  const show = (on) => {
    document.body.classList.toggle("no-boxes", !on);
    button.setAttribute("aria-pressed", String(on));
  };
  show(recall("creel.boxes") !== "off");
  button.hidden = false;
  button.addEventListener("click", () => {
    const on = document.body.classList.contains("no-boxes");
    remember("creel.boxes", on ? "on" : "off");
    show(on);
  });
}

// ---- the gallery ----

function startFilters() {
  const form = one("form.filters[method=get]"); // others of its looks send themselves
  if (!form) { return; }
  const times = all("input[type=datetime-local]", form);
  for (const field of times) {
    field.value = field.value && localField(new Date(`${field.value}Z`));
  }
  for (const zone of all(".zone", form)) { zone.remove(); }
  const go = () => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value) { query.set(name, times.some((field) => field.name === name) ? new Date(value).toISOString() : value); }
    }
    location.assign(query.size ? `/?${query}` : "/");
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  for (const select of all("select", form)) { select.addEventListener("change", go); }
  for (const field of times) {
    field.addEventListener("change", () => { if (!field.value || field.validity.valid) { go(); } });
  }
}

async function appendPage(more) {
  const link = one("a", more);
  const answer = await ask(`${link.href}&part=cards`);
  if (!answer.ok) { throw new Error(`the server said ${answer.status}`); }
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  showTimes(template.content);
  more.replaceWith(template.content);
}

function startScrolling() {
  const grid = one("#grid");
  if (!grid) { return; }
  const watch = new IntersectionObserver(async (entries) => {
    const entry = entries.find((each) => each.isIntersecting);
    if (!entry) { return; }
    watch.unobserve(entry.target);
    try {
      await appendPage(entry.target);
    } catch {
      one("a", entry.target).textContent = "Could not load more: try again";
      await wait(3000);
    }
    const more = one(".more", grid);
    if (more) { watch.observe(more); }
  }, { rootMargin: "1500px 0px" });
  const more = one(".more", grid);
  if (more) { watch.observe(more); }
}

// How many frames of each hour pass the filters; an hour is a link to its frames.
async function startHours() {
  const place = one("#hours");
  if (!place) { return; }
  const query = new URLSearchParams(location.search);
  for (const name of ["after", "limit", "order"]) { query.delete(name); }
  const answer = await ask(`/api/v1/hours?${query}`).catch(() => null);
  if (!answer || !answer.ok) { return; }
  const { hours, more } = await answer.json();
  const most = Math.max(...hours.map((hour) => hour.frames));
  const here = query.get("since");
  for (const hour of hours.reverse()) {
    const link = document.createElement("a");
    const from = new Date(hour.from);
    const there = new URLSearchParams(query);
    there.set("since", from.toISOString());
    there.set("until", new Date(from.getTime() + 3600000).toISOString());
    link.href = `/?${there}`;
    if (here && new Date(here).getTime() === from.getTime()) { link.setAttribute("aria-current", "true"); }
    link.title = `${dayAndTime.format(from)}: ${hour.frames} ${hour.frames === 1 ? "frame" : "frames"}`;
    link.setAttribute("aria-label", link.title);
    link.style.setProperty("--share", `${100 * hour.frames / most}%`);
    place.append(link);
  }
  const note = document.createElement("span");
  if (hours.length) {
    const [first, last] = [hours[0], hours.at(-1)].map((hour) => dayAndTime.format(new Date(hour.from)));
    note.textContent = `${first === last ? `from ${first}` : `${first} to ${last}`}${more ? " and before" : ""}, at most ${most} in an hour`;
  }
  place.append(note);
  place.hidden = false;
  place.scrollLeft = place.scrollWidth; // the latest are on the right
}

// Says how many frames came since the page was made; does not move what the viewer looks at.
function startFresh() {
  const note = one("#fresh");
  const query = new URLSearchParams(location.search);
  if (!note || query.has("after") || query.get("order") === "oldest") { return; }
  const first = one(".card a");
  const top = first ? first.pathname.split("/").pop() : "";
  query.set("limit", "100");
  const look = async () => {
    if (document.hidden) { return; }
    const answer = await ask(`/api/v1/frames?${query}`).catch(() => null);
    if (!answer || !answer.ok) { return; }
    const { frames } = await answer.json();
    const known = frames.findIndex((frame) => frame.id === top);
    const fresh = known < 0 ? frames.length : known;
    if (fresh > 0) {
      const text = `${fresh === 100 ? "More than 99" : fresh} new ${fresh === 1 ? "frame" : "frames"}: show`;
      const link = document.createElement("a");
      link.className = "button";
      link.href = location.href;
      link.textContent = text;
      note.replaceChildren(link);
      note.hidden = false;
    }
  };
  setInterval(look, 10000);
}

// ---- a frame ----

// Labels keep their size on screen however the picture is scaled, and stay inside it.
function layLabels() {
  const svg = one("#boxes");
  if (!svg || !svg.getScreenCTM()) { return; }
  const unit = 1 / svg.getScreenCTM().a;
  const { width } = svg.viewBox.baseVal;
  for (const box of all(".box", svg)) {
    if (box.getAttribute("display") === "none") { continue; }
    const rect = one("rect:not(.tag)", box);
    const text = one("text", box);
    let tag = one(".tag", box);
    if (!tag) {
      tag = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      tag.setAttribute("class", "tag");
      box.insertBefore(tag, text);
    }
    text.setAttribute("font-size", 13 * unit);
    const size = text.getBBox();
    const high = 19 * unit;
    const wide = size.width + 10 * unit;
    const x = Math.max(0, Math.min(rect.x.baseVal.value - 1.25 * unit, width - wide));
    const above = rect.y.baseVal.value - high;
    const y = above >= 0 ? above : rect.y.baseVal.value;
    tag.setAttribute("x", x);
    tag.setAttribute("y", y);
    tag.setAttribute("width", wide);
    tag.setAttribute("height", high);
    text.setAttribute("x", x + 5 * unit);
    text.setAttribute("y", y + 14 * unit);
  }
}

function showFrom(threshold) {
  let shown = 0;
  for (const box of all("#boxes .box")) {
    const on = Number(box.dataset.confidence) >= threshold;
    if (on) { box.removeAttribute("display"); } else { box.setAttribute("display", "none"); }
    shown += on;
  }
  for (const row of all("#detections tbody tr")) {
    row.classList.toggle("below", Number(row.dataset.confidence) < threshold);
  }
  const count = one("#shown-count");
  const total = all("#detections tbody tr").length;
  if (count) { count.textContent = shown === total ? `${total}` : `${shown} of ${total}`; }
  layLabels();
}

function startThreshold() {
  const slider = one("#threshold");
  if (!slider) { return; }
  const said = one("output[for=threshold]");
  const apply = () => {
    said.textContent = `${Math.round(slider.value * 100)}%`;
    showFrom(Number(slider.value));
  };
  slider.closest("label").hidden = false;
  slider.addEventListener("input", apply);
  apply();
  new ResizeObserver(layLabels).observe(one("#boxes"));
  const light = (event, on) => {
    const from = event.target.closest("[data-row]");
    for (const part of from ? all(`.frame [data-row="${from.dataset.row}"]`) : []) { part.classList.toggle("lit", on); }
  };
  for (const place of [one("#detections"), one("#boxes")]) {
    place?.addEventListener("mouseover", (event) => light(event, true));
    place?.addEventListener("mouseout", (event) => light(event, false));
  }
}

// What belongs to the frame that is shown; again when another takes its place.
function startFrame() {
  startBoxes();
  startThreshold();
  startLink();
}

function startKeys() {
  const moves = { ArrowLeft: "a[rel=prev]", ArrowRight: "a[rel=next]", Escape: "#back", b: "#toggle-boxes" };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) { return; }
    const target = moves[event.key] && one(`.frame ${moves[event.key]}`);
    if (target) { event.preventDefault(); target.click(); }
  });
}

const kinds = { azure: "Azure", s3: "S3", cloud: "cloud", local: "this device's" };

// The clipboard is closed to pages that are not on localhost or TLS: then the link is shown, selected.
async function copy(url, field) {
  field.value = url;
  field.hidden = false;
  try {
    await navigator.clipboard.writeText(url);
    return true;
  } catch {
    field.focus();
    field.select();
    return false;
  }
}

function startLink() {
  const button = one("#copy-link");
  if (!button) { return; }
  const said = one("#link-said");
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    said.textContent = "…";
    const answer = await ask(`${button.pathname}?ttl=${one("#link-ttl").value}`, { method: "POST" }).catch(() => null);
    const link = answer && await answer.json().catch(() => null);
    if (!link || !link.url) {
      said.textContent = link?.detail ?? "The server did not answer.";
      return;
    }
    const url = new URL(link.url, location.href).href;
    const done = await copy(url, one("#link-text"));
    const until = dayAndTime.format(new Date(link.expires));
    said.textContent = `${done ? "Copied" : "Copy it from here"}: ${kinds[link.kind] ?? link.kind} link, valid until ${until}.`;
  });
}

// ---- status ----

function startStatus() {
  const place = one("#status");
  if (!place) { return; }
  setInterval(async () => {
    if (document.hidden || place.contains(document.activeElement)) { return; } // a button is about to be pressed
    const answer = await ask("/status?part=status").catch(() => null);
    if (answer && answer.ok) {
      place.innerHTML = await answer.text();
      showTimes(place);
    }
  }, 5000);
}

document.body.classList.add("scripted");
showTimes(document);
startFrame();
startFilters();
startHours();
startScrolling();
startFresh();
startKeys();
startStatus();
