// The live view in a real browser, against the real daemon with the model it comes with and the demo cameras: pictures that
// change, boxes over them, alert classes that stand out, nothing held once nobody looks. Screenshots in <build>/screenshots.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { answers, buildDir, freePort, main, nodeDir, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const { chromium } = require('playwright-core');

const shots = path.join(buildDir, 'screenshots');
const chrome = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));
const faults = [];

function config(dir, webPort, alerts) {
  return writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
cameras: {dock: {source: "demo:", fps: 8, seed: 3}, gate: {source: "demo:", fps: 8, seed: 11},
  yard: {source: "rtsp://127.0.0.1:9/none", fps: 2}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "127.0.0.1:${webPort}", alerts: ${alerts}}
ingest: {listen: off}
`);
}

async function open(browser, base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 860 }, colorScheme: 'light', locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`script: ${error}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`));
  });
  await page.goto(`${base}/live`);
  await page.waitForFunction(() => document.querySelectorAll('.camera .view img').length === 2, null, { timeout: 20000 });
  return page;
}

const sources = (page) => page.$$eval('.camera .view img', (images) => images.map((image) => image.src));

await main(async () => {
  assert.ok(chrome, 'no chromium: apt-get install chromium');
  const dir = scratch('live');
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  fs.mkdirSync(shots, { recursive: true });
  const names = fs.readdirSync(path.join(sourceDir, 'inference/models/demo')).find((name) => name.endsWith('.names'));
  const classes = fs.readFileSync(path.join(sourceDir, 'inference/models/demo', names), 'utf8').trim().split('\n');
  const browser = await chromium.launch({ executablePath: chrome, args: ['--headless', '--no-sandbox', '--disable-quic'] });
  try {
    const daemon = await startDaemon(config(dir, port, JSON.stringify(classes)), answers(`${base}/readyz`));
    const page = await open(browser, base);
    const before = await sources(page);
    await page.waitForFunction((old) => [...document.querySelectorAll('.camera .view img')]
      .every((image, at) => image.src !== old[at] && image.naturalWidth > 0), before, { timeout: 20000 });
    await page.waitForFunction(() => document.querySelectorAll('.camera .box').length > 0, null, { timeout: 20000 });
    await page.waitForSelector('.camera[data-camera=yard].dead .silent:text-matches("^No picture yet: .*refused")');
    await page.waitForSelector('.camera.alarmed .chip.alert');
    assert.match(await page.locator('.chip.alert').first().innerText(), /^Alert: /);
    await until('frames a second', async () => {
      const rates = await page.$$eval('.rates dd:first-of-type', (cells) => cells.map((cell) => parseFloat(cell.textContent)));
      return rates.length >= 2 && rates[0] > 1;
    }, 20000);
    await page.screenshot({ path: path.join(shots, 'live-light.png') });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, 'the page is wider than the screen');
    await page.context().close();

    const status = await open(browser, base);
    await status.goto(`${base}/status`);
    assert.strictEqual(await status.locator('.chart').count(), 5);
    await status.screenshot({ path: path.join(shots, 'status-charts.png'), fullPage: true });
    await status.context().close();

    for (const [name, options] of [['live-dark', { colorScheme: 'dark' }],
      ['phone-live', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }]]) {
      const other = await open(browser, base, options);
      await other.screenshot({ path: path.join(shots, `${name}.png`) });
      await other.context().close();
    }

    const metrics = await until('nothing is held for viewers that went', async () => {
      const text = await (await fetch(`${base}/metrics`)).text();
      return /^creel_live_held_bytes 0$/m.test(text) && text;
    }, 30000);
    assert.match(metrics, /^creel_live_viewers 0$/m);
    assert.match(metrics, /^creel_detect_seconds_bucket\{le="\+Inf"\} [1-9]/m);
    assert.match(metrics, /^creel_latency_seconds_count [1-9]/m);
    assert.deepStrictEqual(faults, []);
    assert.strictEqual(await stop(daemon), 0);
  } finally {
    await browser.close();
  }
});
