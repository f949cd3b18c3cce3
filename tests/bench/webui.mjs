// The gallery's benchmark: see webui.sh. Here are its options, the store, the daemon over it, and the report.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { answers, buildDir, cleanUp, freePort, scratch, sourceDir, startDaemon, writeConfig } from '../lib.mjs';
import { browserPart } from './webui_browser.mjs';
import { pagesPart } from './webui_pages.mjs';
import { ratesPart } from './webui_rates.mjs';

const parts = { pages: pagesPart, rates: ratesPart, browser: browserPart };

function fail(text) {
  console.error(`webui.sh: ${text}`);
  process.exit(2);
}

function number(values, name, low) {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < low) fail(`--${name} ${values[name]}: wanted a number from ${low} on`);
  return value;
}

function options() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        frames: { type: 'string', default: '1000000' }, store: { type: 'string' }, only: { type: 'string' },
        requests: { type: 'string', default: '300' }, rounds: { type: 'string', default: '5' }, json: { type: 'string' },
      },
    }));
  } catch (error) {
    fail(error.message);
  }
  if (values.only && !parts[values.only]) fail(`--only ${values.only}: wanted ${Object.keys(parts).join(', ')}`);
  return {
    ...values, frames: number(values, 'frames', 10000), requests: number(values, 'requests', 20),
    rounds: number(values, 'rounds', 1),
  };
}

function store(wanted, dir) {
  const at = wanted.store ? path.resolve(wanted.store) : path.join(dir, 'store');
  if (!fs.existsSync(path.join(at, 'index.db'))) {
    console.error(`webui.sh: making a store of ${wanted.frames} frames in ${at}`);
    const made = spawnSync(path.join(buildDir, 'bin', 'bench-webui-store'), [at, String(wanted.frames)], { stdio: 'inherit' });
    if (made.status !== 0) throw new Error('the store was not made');
  }
  return at;
}

// Without a camera, and with nothing that removes: the store stays what it is.
async function daemon(dir, at) {
  const port = await freePort();
  const config = writeConfig(dir, `
version: 1
device: {id: bench, clock: trusted}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
store: {dir: ${at}, quota: off, min_free: off, tiers: {unannotated: {max_age: off}, annotated: {max_age: off}}}
web: {listen: "127.0.0.1:${port}"}
ingest: {listen: "off"}
`);
  const base = `http://127.0.0.1:${port}`;
  const child = await startDaemon(config, answers(`${base}/readyz`));
  return { child, base };
}

const memory = (child, what) =>
  Number(new RegExp(`${what}:\\s+(\\d+) kB`).exec(fs.readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024;

async function run() {
  const wanted = options();
  const dir = scratch('bench-webui');
  const { child, base } = await daemon(dir, store(wanted, dir));
  const { frames: counts } = await (await fetch(`${base}/api/v1/status`)).json().then((status) => ({ frames: status.store }));
  const result = { machine: `${os.cpus().length} x ${os.cpus()[0].model}`, store: counts };
  const bench = { ...wanted, dir, base, mark: (what) => { result[what] = { rss_mib: memory(child, 'VmRSS') }; } };
  console.log(`${result.machine}; a store of ${wanted.frames} frames`);
  for (const [name, part] of Object.entries(parts)) {
    if (!wanted.only || wanted.only === name) result[name] = await part(bench);
  }
  result.memory = { peak_mib: memory(child, 'VmHWM'), now_mib: memory(child, 'VmRSS') };
  console.log(`\nmemory of the daemon: greatest ${result.memory.peak_mib.toFixed(1)} MiB, now ${result.memory.now_mib.toFixed(1)} MiB`);
  if (wanted.json) fs.writeFileSync(wanted.json, `${JSON.stringify(result, null, 1)}\n`);
}

try {
  await run();
} finally {
  await cleanUp();
}
