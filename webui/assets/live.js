// The live view: events say what each camera saw, and name the picture; boxes lie over it as SVG. A page that nobody looks at
// (another tab, a minimised window) closes its stream, so that nothing is held for it.
"use strict";

(() => {
  const place = document.querySelector("#live");
  const said = document.querySelector("#live-said");
  const svgSpace = "http://www.w3.org/2000/svg";
  let stream = null;

  const make = (name, className, text) => {
    const node = document.createElement(name);
    if (className) { node.className = className; }
    if (text !== undefined) { node.textContent = text; }
    return node;
  };

  function silence() {
    const node = make("p", "silent");
    node.setAttribute("role", "status");
    return node;
  }

  function cardOf(name) {
    const known = [...place.children].find((card) => card.dataset.camera === name);
    if (known) { return known; }
    const card = make("article", "camera");
    card.dataset.camera = name;
    card.append(make("h2", "", name), make("div", "view"), silence(), make("p", "found"), make("dl", "rates"));
    place.append(card);
    document.querySelector(".notice")?.remove();
    return card;
  }

  // The picture and its boxes change together, once the picture is here; one load a camera at a time.
  function show(card, name, look) {
    const view = card.querySelector(".view");
    if (card.loading || card.shown === look.number) { return; }
    card.loading = true;
    const image = new Image(look.width, look.height);
    image.alt = `Latest frame of ${name}`;
    image.onload = () => {
      const boxes = document.createElementNS(svgSpace, "svg");
      boxes.setAttribute("class", "boxes");
      boxes.setAttribute("viewBox", `0 0 ${look.width} ${look.height}`);
      boxes.setAttribute("aria-hidden", "true");
      boxes.innerHTML = look.boxes;
      view.replaceChildren(image, boxes);
      for (const text of boxes.querySelectorAll("text")) { // 12 pixels on screen, however the picture is scaled
        text.setAttribute("font-size", 12 * look.width / view.clientWidth);
        const { x, width } = text.getBBox();
        text.setAttribute("x", Math.max(0, Math.min(x, look.width - width)));
      }
      card.loading = false;
      card.shown = look.number;
    };
    image.onerror = () => { card.loading = false; };
    image.src = `/live/picture/${name}?n=${look.number}`;
  }

  function list(card, look) {
    const found = card.querySelector(".found");
    const best = new Map();
    for (const one of look.found) {
      const before = best.get(one.label);
      best.set(one.label, { ...one, count: (before?.count ?? 0) + 1, confidence: Math.max(before?.confidence ?? 0, one.confidence) });
    }
    found.replaceChildren(...[...best.values()].map((one) => {
      const chip = make("span", one.alert ? "chip alert" : "chip");
      chip.append(make("span", `dot c${one.colour}`),
        `${one.alert ? "Alert: " : ""}${one.label}${one.count > 1 ? ` × ${one.count}` : ""} ${Math.round(one.confidence * 100)}%`);
      return chip;
    }));
    if (!best.size) { found.textContent = "Nothing found"; }
    card.classList.toggle("alarmed", look.alert);
  }

  function rates(card, camera) {
    const rows = [
      ["Rate", `${camera.per_second.toFixed(1)} fps`],
      ["Latency", camera.last ? `${Math.round(camera.latency_ms)} ms` : "–"],
      ["Dropped", String(camera.dropped)],
      ["Kept", `${camera.kept} of ${camera.seen}`],
    ];
    card.querySelector(".rates").replaceChildren(...rows.map(([name, value]) => {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", value));
      return row;
    }));
  }

  // A camera that says nothing: since when, and why as far as its source told. What it found last is no news any more.
  const silentMs = 10000; // or thrice what lay between its last two frames: some are slow by order
  const span = (ms) => (ms < 120000 ? `${Math.round(ms / 1000)} s` : ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${Math.round(ms / 3600000)} h`);

  function hush(card, camera) {
    if (card.last && camera.last !== card.last) { card.gap = Date.parse(camera.last) - Date.parse(card.last); }
    card.last = camera.last;
    const never = camera.silent_ms < 0;
    const silent = never ? camera.error !== "" : camera.silent_ms > Math.max(silentMs, 3 * (card.gap ?? 0));
    const since = never ? "No picture yet" : `Silent for ${span(camera.silent_ms)}`;
    const said = silent ? `${since}${camera.error && `: ${camera.error}`}` : "";
    const note = card.querySelector(".silent");
    if (note.textContent !== said) { note.textContent = said; }
    card.classList.toggle("dead", silent);
    if (silent) { card.classList.remove("alarmed"); }
    return silent;
  }

  function take(event) {
    said.textContent = "";
    for (const camera of JSON.parse(event.data).cameras) {
      const card = cardOf(camera.camera);
      rates(card, camera);
      if (!hush(card, camera) && camera.look) {
        list(card, camera.look);
        show(card, camera.camera, camera.look);
      }
    }
  }

  function follow() {
    if (document.hidden === !stream) { return; }
    if (document.hidden) {
      stream.close();
      stream = null;
      return;
    }
    stream = new EventSource("/live/events");
    stream.onmessage = take;
    stream.onerror = () => {
      said.textContent = "The connection is gone; it is tried again.";
      if (stream && stream.readyState === EventSource.CLOSED) { // refused: too many look, or the login is over
        stream = null;
        setTimeout(follow, 5000);
      }
    };
  }

  document.addEventListener("visibilitychange", follow);
  follow();
})();
