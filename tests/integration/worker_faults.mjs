// Workers of a daemon under load are killed, stopped, starved of memory, and cannot be started for a while. No frame that
// a retry can save is lost, none is blamed, and when the fault is over all is well again.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { buildDir, curlScore, freePort, main, photos, run, runJson, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const CALLERS = 4;

await main(async () => {
  const dir = scratch('faults');
  const port = await freePort();
  const worker = path.join(dir, 'worker');
  const program = path.join(buildDir, 'bin', 'creel-worker-cpu');
  const link = (to) => {
    fs.rmSync(worker, { force: true });
    fs.symlinkSync(to, worker);
  };
  link(program);
  const config = writeConfig(dir, `
device: {id: faults, clock: trusted}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
inference: {worker: ${worker}, workers: 2, queue: 64, timeout: 2s}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}"}
`);
  const daemon = await startDaemon(config, () => run('status', '--config', config).status === 0);
  fs.mkdirSync(path.join(dir, 'photos'));
  const files = photos(path.join(dir, 'photos'), 4);
  const large = path.join(dir, 'large.png'); // decoded whole: more than a worker has memory for that has only seen photos
  execFileSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'testsrc2=size=3200x2400', '-frames:v', '1', large]);
  const pipeline = () => runJson('status', '--json', '--config', config).pipeline;
  const sum = (key) => pipeline().workers.reduce((total, one) => total + one[key], 0);
  const each = (act) => {
    const hit = pipeline().workers.filter((one) => one.pid > 1);
    hit.forEach((one) => { try { act(one.pid); } catch (error) { if (error.code !== 'ESRCH') throw error; } });
    return hit.length;
  };

  const load = { files, over: false, may_fail: false, answered: 0, failed: 0 };
  const callers = Promise.all(Array.from({ length: CALLERS }, async (_, caller) => {
    for (let i = caller; !load.over; i++) {
      const reply = await curlScore(port, load.files[i % load.files.length]);
      const well = [200, 204].includes(reply.status);
      assert.ok(well || (load.may_fail && reply.status >= 500), `${reply.status} ${reply.body}`);
      load.answered += well;
      load.failed += !well;
    }
  }));
  const someMore = async () => {
    const before = load.answered;
    await until('more frames', () => load.answered >= before + 2 * CALLERS);
  };
  const table = [];
  const play = async (name, act, key) => {
    const [before, frames] = [sum(key), load.answered];
    const hit = act();
    assert.strictEqual(hit, 2, name);
    await until(`${name}: both replaced`, () => sum(key) >= before + hit);
    await someMore();
    table.push(`${name.padEnd(24)} ${load.answered - frames} frames meanwhile, ${sum('restarts')} restarts so far, none lost`);
  };
  await someMore();
  await play('killed', () => each((pid) => process.kill(pid, 'SIGKILL')), 'restarts');
  await play('stopped', () => each((pid) => process.kill(pid, 'SIGSTOP')), 'timeouts');
  await play('starved of memory', () => {
    const hit = each((pid) => execFileSync('prlimit', ['--pid', String(pid), '--as=1048576:1048576', '--data=1048576:1048576']));
    load.files = [large];
    return hit;
  }, 'restarts');
  load.files = files;

  // A program that cannot start (an upgrade half done): frames fail, and say why; nobody is blamed for it.
  load.may_fail = true;
  link('/bin/false');
  each((pid) => process.kill(pid, 'SIGKILL'));
  await until('failures', () => load.failed >= 2);
  assert.match(pipeline().last_error, /while it loaded the model/);
  assert.strictEqual(run('status', '--config', config).status, 0, 'the daemon answers all the same');
  link(program);
  await someMore();
  load.over = true;
  await callers;

  const last = pipeline();
  assert.strictEqual(last.frames_seen, load.answered);
  assert.deepStrictEqual([last.bad, last.dropped, last.poison.added], [0, 0, 0], JSON.stringify(last));
  assert.strictEqual(last.failed, load.failed);
  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log(`${table.join('\n')}\n${load.answered} frames answered, ${load.failed} while no worker could start`);
});
