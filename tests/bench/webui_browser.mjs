// What a first view weighs, what moves while it is made, and how smoothly 5,000 thumbnails scroll, in Debian's Chromium without
// a window. Beside it the same thumbnails in a plain page of nginx's, which says what the machine can do.
import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';
import { nodeDir, stop } from '../lib.mjs';
import { copy, newest, startNginx } from './webui_rates.mjs';

const THUMBNAILS = 5000;
const STEP = 40; // pixels a frame: 2,400 a second, ten rows
const SCROLL_MS = 6000;

async function open(browser, url) {
  const page = await (await browser.newContext({ viewport: { width: 1360, height: 860 } })).newPage();
  const weights = {};
  const session = await page.context().newCDPSession(page);
  const types = new Map();
  session.on('Network.responseReceived', ({ requestId, type, response }) =>
    types.set(requestId, /\/thumb\//.test(response.url) ? 'thumbnails' : /\/api\//.test(response.url) ? 'API' : type));
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    const type = types.get(requestId);
    weights[type] = (weights[type] ?? 0) + encodedDataLength;
  });
  await session.send('Network.enable');
  await page.addInitScript(() => {
    window.shifted = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(url);
  await page.waitForLoadState('networkidle');
  return { page, weights };
}

// Makes the page load its thumbnails: as many as wanted are in it afterwards.
async function fill(page, count) {
  await page.evaluate(async (wanted) => {
    const end = performance.now() + 120000;
    while (document.images.length < wanted) {
      if (performance.now() > end) throw new Error(`${document.images.length} thumbnails came of ${wanted}`);
      scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
      await new Promise((done) => setTimeout(done, 20));
    }
  }, count);
}

// Scrolls down from a share of the page's height on, a step a frame; how long each frame took.
function scroll(page, share) {
  return page.evaluate(([from, step, ms]) => new Promise((resolve) => {
    const times = [];
    let last = 0;
    let until = 0;
    const frame = (now) => {
      if (last) times.push(now - last);
      last = now;
      until ||= now + ms;
      scrollBy({ top: step, behavior: 'instant' });
      if (now < until) requestAnimationFrame(frame); else resolve(times);
    };
    scrollTo({ top: document.documentElement.scrollHeight * from, behavior: 'instant' });
    setTimeout(() => requestAnimationFrame(frame), 500);
  }), [share, STEP, SCROLL_MS]);
}

function told(times) {
  const sorted = times.sort((a, b) => a - b);
  const all = sorted.reduce((sum, ms) => sum + ms, 0);
  return {
    fps: sorted.length * 1000 / all, median_ms: sorted[sorted.length >> 1], p95_ms: sorted[Math.floor(sorted.length * 0.95)],
    late: sorted.filter((ms) => ms > 25).length / sorted.length,
  };
}

function plainPage(frames, root) {
  fs.mkdirSync(root, { recursive: true });
  fs.writeFileSync(path.join(root, 'plain.html'), `<!doctype html><meta charset="utf-8"><title>plain</title>
<style>body{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem;margin:1rem}img{width:100%;height:auto}</style>
${frames.map((frame) => `<img src="/thumb/${frame.sha256}" width="320" height="180" loading="lazy" decoding="async" alt="">`).join('\n')}
`);
}

export async function browserPart({ base, dir }) {
  const { chromium } = createRequire(path.join(nodeDir, 'package.json'))('playwright-core');
  const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((file) => fs.existsSync(file));
  const frames = await newest(base, THUMBNAILS);
  const own = path.join(dir, 'browser');
  fs.mkdirSync(own);
  plainPage(frames, path.join(own, 'root'));
  await copy(base, frames.map((frame) => `/thumb/${frame.sha256}`), path.join(own, 'root'));
  const nginx = await startNginx(own, path.join(own, 'root'));
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const result = {};
  try {
    const first = await open(browser, `${base}/`);
    result.weights = first.weights;
    result.shift = await first.page.evaluate(() => window.shifted);
    const { thumbnails, ...rest } = result.weights;
    const bytes = Object.values(rest).reduce((sum, size) => sum + size, 0);
    console.log(`\nfirst view: ${(bytes / 1024).toFixed(1)} KiB without thumbnails (to reach: under 150), ` +
      `${((thumbnails ?? 0) / 1024).toFixed(0)} KiB of thumbnails; ` +
      Object.entries(rest).map(([type, size]) => `${type} ${(size / 1024).toFixed(1)}`).join(', '));
    console.log(`cumulative layout shift: ${result.shift.toFixed(4)}`);
    console.log(`${`scrolling ${THUMBNAILS} thumbnails`.padEnd(34)}${'frames/s'.padStart(9)}${'median ms'.padStart(11)}${'p95 ms'.padStart(9)}${'> 25 ms'.padStart(9)}`);
    result.gallery = await scrolled('creel', first.page);
    await first.page.context().close();
    result.plain = await scrolled('plain page of nginx', (await open(browser, `${nginx.base}/plain.html`)).page);
  } finally {
    await browser.close();
    await stop(nginx.child);
  }
  return result;
}

async function scrolled(name, page) {
  await fill(page, THUMBNAILS);
  const result = { shift: await page.evaluate(() => window.shifted) };
  for (const [where, share] of [['top', 0], ['middle', 0.5]]) {
    result[where] = told(await scroll(page, share));
    const { fps, median_ms: middle, p95_ms: p95, late } = result[where];
    console.log(`${`  ${name}, ${where}`.padEnd(34)}${fps.toFixed(1).padStart(9)}${middle.toFixed(1).padStart(11)}${p95.toFixed(1).padStart(9)}${`${(late * 100).toFixed(1)} %`.padStart(9)}`);
  }
  return result;
}
