// What the browser tests share: Debian's Chromium, pages that remember what went wrong in them, and axe-core.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { nodeDir } from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const { chromium } = require('playwright-core');
const axeSource = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const chrome = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));

// Everything that no page may do: errors in the console, requests elsewhere, what the Content-Security-Policy stopped,
// and what axe-core finds.
export const faults = [];

export const desktop = { width: 1360, height: 860 };
export const phone = { width: 390, height: 844 };

export function launch() {
  assert.ok(chrome, 'no chromium: apt-get install chromium');
  return chromium.launch({
    executablePath: chrome,
    args: ['--headless', '--no-sandbox', '--disable-quic', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
}

// A page in a context of its own: no cookie, no storage of another. `elsewhere`: other origins that it may ask.
export async function openPage(browser, base, { elsewhere = [], ...options } = {}) {
  const context = await browser.newContext({
    viewport: desktop, colorScheme: 'light', timezoneId: 'Europe/Berlin', locale: 'en-GB', ...options,
  });
  await context.addInitScript(() => {
    window.seen = { shift: 0 };
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`));
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.seen.shift += entry.value;
    }).observe({ type: 'layout-shift', buffered: true });
  });
  context.on('page', (page) => {
    page.on('console', (message) => {
      if (page.url().startsWith(base) && ['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()} at ${page.url()}`);
    });
    page.on('pageerror', (error) => faults.push(`script: ${error} at ${page.url()}`));
    page.on('request', (request) => {
      const url = request.url();
      if (![base, ...elsewhere, 'data:', 'blob:'].some((known) => url.startsWith(known))) faults.push(`fetched from elsewhere: ${url}`);
    });
  });
  return context.newPage();
}

// A fault that was asked for, such as a refusal: it must have happened, and counts no more.
export function forgive(pattern) {
  const at = faults.findIndex((fault) => pattern.test(fault));
  assert.ok(at >= 0, `nothing like ${pattern} happened: ${faults}`);
  faults.splice(at, 1);
}

export async function assertFits(page, name) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `${name}: the page is ${wide} pixels wider than the screen`);
}

// The script comes by the debugger, which no Content-Security-Policy concerns: the page's own stays as strict as it is.
export async function lookForFaults(page, name, rules = null) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(axeSource);
  const { violations } = await page.evaluate((only) => window.axe.run(document, {
    runOnly: only ? { type: 'rule', values: only } : { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] },
    resultTypes: ['violations'], preload: false,
  }), rules);
  for (const { id, help, impact, nodes } of violations) {
    const places = nodes.slice(0, 4).map((node) => `${node.target} ${node.any[0]?.message ?? ''}`).join('; ');
    if (['serious', 'critical'].includes(impact)) faults.push(`axe-core on ${name}: ${id} (${help}): ${places}`);
  }
}
