// Another model while frames come: by `creel model use` and by SIGHUP, under load and while workers are killed. Every
// frame is settled, its record names the old or the new model, and a model that cannot be used changes nothing.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import {
  creel, curlScore, freePort, main, photos, run, runJson, scratch, sha256, sourceDir, startDaemon, stop, until,
  writeConfig,
} from '../lib.mjs';

const CALLERS = 4;
const demo = path.join(sourceDir, 'inference', 'models', 'demo');

// A copy of the demo model under another version, broken by `change`, with the right hashes all the same.
function copyModel(dir, version, change = () => {}) {
  const to = path.join(dir, `model-${version}`);
  fs.cpSync(demo, to, { recursive: true });
  change(to);
  const hash = (file) => sha256(fs.readFileSync(path.join(to, file)));
  fs.writeFileSync(path.join(to, 'model.yaml'), `name: swapped
version: "${version}"
cfg: demo.cfg
weights: demo.weights
names: demo.names
sha256: {cfg: ${hash('demo.cfg')}, weights: ${hash('demo.weights')}, names: ${hash('demo.names')}}
threshold: 0.5
`);
  return to;
}

function use(config, dir) {
  return new Promise((resolve) => {
    const child = spawn(creel, ['model', 'use', dir, '--json', '--config', config]);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => { stdout += chunk; });
    child.stderr.on('data', (chunk) => { stderr += chunk; });
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

// Pushes frames until told to end; [{version wanted at the time, frame id}].
function callers(port, files, load) {
  return Promise.all(Array.from({ length: CALLERS }, async (_, caller) => {
    for (let i = caller; !load.over; i++) {
      const at = load.version;
      const reply = await curlScore(port, files[i % files.length], '?wait=stored');
      assert.ok([200, 204].includes(reply.status), `a frame was lost: ${reply.status} ${reply.body}`);
      load.frames.push({ at, until: load.version, id: reply.headers.get('creel-frame') });
    }
  }));
}

function versionsOf(config) {
  const versions = new Map();
  for (let after = []; ;) {
    const reply = run('ls', '--json', '--limit', '500', ...after, '--config', config);
    assert.strictEqual(reply.status, 0, reply.stderr);
    const lines = reply.stdout.toString().trim().split('\n').map((line) => JSON.parse(line));
    for (const line of lines) if (line.id) versions.set(line.id, line.model.version);
    const next = reply.stderr.match(/--after ([0-9.]+)/)?.[1] ?? lines.find((line) => line.next)?.next;
    if (!next) return versions;
    after = ['--after', next];
  }
}

await main(async () => {
  const dir = scratch('swap');
  const port = await freePort();
  const log = () => fs.readFileSync(path.join(dir, 'daemon.log'), 'utf8');
  const versions = Object.fromEntries(['one', 'two', 'three', 'four'].map((name) => [name, copyModel(dir, name)]));
  const text = (model) => `
device: {id: swap, clock: trusted}
model: {dir: ${model}}
inference: {workers: 2, queue: 64}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}"}
`;
  const config = writeConfig(dir, text(versions.one));
  assert.strictEqual(run('model', 'use', versions.one, '--config', config).status, 4, 'no daemon runs');
  const ready = () => run('model', 'show', '--config', config).status === 0;
  const daemon = await startDaemon(config, ready);
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), 8);
  const model = () => runJson('status', '--json', '--config', config).model;
  const load = { over: false, version: 'one', frames: [] };
  const pushed = callers(port, files, load);
  const someMore = async () => {
    const before = load.frames.length;
    await until('more frames', () => load.frames.length >= before + 2 * CALLERS);
  };
  const changing = async (version, act) => {
    load.version = 'either'; // what is pushed from here on may see both, until the change is done
    await act();
    load.version = version;
    await someMore();
  };
  await someMore();

  await changing('two', async () => {
    const reply = await use(config, versions.two);
    assert.strictEqual(reply.status, 0, reply.stderr);
    assert.strictEqual(JSON.parse(reply.stdout).version, 'two');
  });
  assert.strictEqual((await use(config, versions.two)).status, 0, 'the same again');

  const weights = (to) => path.join(to, 'demo.weights');
  const cfg = (to, from, by) => fs.writeFileSync(path.join(to, 'demo.cfg'), fs.readFileSync(path.join(to, 'demo.cfg'), 'utf8').replace(from, by));
  const broken = [
    ['gone', (to) => fs.rmSync(path.join(to, 'demo.names')) || fs.writeFileSync(path.join(to, 'demo.names'), ''), /demo\.names has 0 labels/],
    ['short', (to) => fs.truncateSync(weights(to), 1000), /demo\.weights has 1000 bytes/],
    ['layer', (to) => cfg(to, '[convolutional]', '[transformer]'), /demo\.cfg:\d+: \[transformer\]/],
    // Numbers, but such that the network computes none: only a run shows it.
    ['huge', (to) => {
      const bytes = fs.readFileSync(weights(to));
      for (let at = 20; at < bytes.length; at += 4) bytes.writeFloatLE(3e38, at);
      fs.writeFileSync(weights(to), bytes);
    }, /values that are not numbers/],
  ];
  for (const [name, change, says] of broken) {
    const reply = await use(config, copyModel(dir, name, change));
    assert.notStrictEqual(reply.status, 0, name);
    assert.match(reply.stderr, says, name);
    assert.strictEqual(model().version, 'two', `after ${name}`);
    assert.strictEqual(model().change.state, 'refused', name);
  }
  await someMore();

  await changing('three', async () => {
    writeConfig(dir, text(versions.three));
    daemon.kill('SIGHUP');
    await until('the reload', () => model().version === 'three');
  });
  writeConfig(dir, text(path.join(dir, 'model-short')));
  daemon.kill('SIGHUP');
  await until('a refused reload', () => /model not changed; the old one goes on.*model-short/.test(log()));
  assert.strictEqual(model().version, 'three');

  // Workers die while the model changes: still one retry a frame, and the change comes through.
  await changing('four', async () => {
    const change = use(config, versions.four);
    for (const worker of runJson('status', '--json', '--config', config).pipeline.workers) {
      if (worker.pid > 1) try { process.kill(worker.pid, 'SIGKILL'); } catch { /* it has ended */ }
    }
    const reply = await change;
    assert.strictEqual(reply.status, 0, reply.stderr);
  });
  // The same directory with other files in it, replaced by rename.
  await changing('five', async () => {
    fs.renameSync(versions.four, `${versions.four}-old`);
    fs.renameSync(copyModel(dir, 'five'), versions.four);
    writeConfig(dir, text(path.join(dir, 'model-short'))); // unchanged since the last reload
    daemon.kill('SIGHUP');
    await until('the same directory again', () => model().version === 'five');
  });
  load.over = true;
  await pushed;

  const { pipeline } = runJson('status', '--json', '--config', config);
  assert.strictEqual(pipeline.frames_seen, load.frames.length);
  assert.deepStrictEqual([pipeline.bad, pipeline.failed, pipeline.dropped], [0, 0, 0], JSON.stringify(pipeline));
  assert.strictEqual(pipeline.workers.length, 2);
  assert.ok(pipeline.workers.reduce((sum, worker) => sum + worker.frames, 0) >= load.frames.length, 'counts outlive a change');
  const recorded = versionsOf(config);
  const seen = {};
  for (const { at, until: to, id } of load.frames.filter((frame) => frame.id)) {
    const version = recorded.get(id);
    assert.ok(['one', 'two', 'three', 'four', 'five'].includes(version), `${id}: ${version}`);
    if (at !== 'either' && at === to) assert.strictEqual(version, at, id);
    seen[version] = (seen[version] ?? 0) + 1;
  }
  assert.deepStrictEqual(Object.keys(seen).sort(), ['five', 'four', 'one', 'three', 'two']);
  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log(`${load.frames.length} frames, none lost: ${JSON.stringify(seen)}`);
});
