// What a person decides about uploads: pause, quarantine, retry, drop and backfill, with the daemon and without it,
// and that a restart, and an index made anew, agree with each decision.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { controlAnswers, main, run, scratch, sleep, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const files = (dir) => (fs.existsSync(dir)
  ? fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && /\.jpg$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name)) : []);

await main(async () => {
  const dir = scratch('sync');
  const disk = (name) => path.join(dir, name);
  const text = (remotes) => `
device: {id: edge, clock: trusted}
cameras: {demo: {source: "demo:", seed: 3, fps: 20}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
sync:
  remotes:
${remotes.map((name) => `    ${name}: {type: directory, path: ${disk(name)}}`).join('\n')}
web: {listen: "off"}
ingest: {listen: "off"}
`;
  for (const name of ['first', 'second']) fs.mkdirSync(disk(name));
  const config = writeConfig(dir, text(['first']));
  const sync = (...args) => run('sync', ...args, '--config', config);
  const remote = (name) => JSON.parse(run('status', '--json', '--config', config).stdout).sync // exit 4 without a daemon
    .find((one) => one.name === name);
  const start = (...args) => startDaemon(config, controlAnswers(config), args);
  const idle = ['--set', 'cameras.demo.fps=0.01'];
  const atRest = async (what, value) => {
    let last = value();
    await until(what, async () => {
      const before = last;
      await sleep(500);
      return (last = value()) === before;
    });
    return last;
  };
  const output = (result) => {
    assert.strictEqual(result.status, 0, result.stderr);
    return result.stdout.toString();
  };

  // paused: frames gather, nothing goes; a restart changes nothing about it
  let daemon = await start();
  assert.match(output(sync('pause')), /paused all remotes/);
  const before = await atRest('the transfers on their way', () => files(disk('first')).length);
  await until('a backlog', () => remote('first').pending >= 20);
  assert.ok(remote('first').paused);
  assert.strictEqual(files(disk('first')).length, before, 'what was on its way has ended, and no more began');
  assert.strictEqual(await stop(daemon), 0);
  assert.ok(remote('first').paused, 'also without a daemon');
  daemon = await start(...idle);
  const backlog = await atRest('the first frames of an idle camera', () => remote('first').pending);
  assert.ok(backlog >= 20);
  assert.match(run('status', '--config', config).stdout.toString(), /waiting \d+ .*paused/);
  assert.match(output(sync('resume', 'first')), /resumed first/);
  const waited = sync('--wait', '--timeout', '60');
  assert.strictEqual(waited.status, 0, waited.stderr);
  assert.match(waited.stderr, /remote first: 100 %, 0 left/, 'lines in a log, where there is no terminal');
  const kept = await until('a receipt for each file', () => {
    const { done, pending } = remote('first');
    return pending === 0 && files(disk('first')).length === done && done;
  });

  // a new remote gets what was kept before only by a backfill
  assert.strictEqual(sync('backfill', 'second').status, 3);
  assert.strictEqual(await stop(daemon), 0);
  writeConfig(dir, text(['first', 'second']));
  assert.match(sync('backfill', 'second').stderr, /creel must have run once with it/);
  daemon = await start(...idle);
  assert.ok(remote('second').done + remote('second').pending < 5);
  assert.match(sync('backfill', 'second', '--since', 'yesterday').stderr, /is no time/);
  assert.match(output(sync('pause', 'second')), /paused second/);
  assert.match(output(sync('backfill', 'second', '--since', '2100-01-01')), /^queued 0$/m);
  const queued = Number(output(sync('backfill', 'second', '--since', '1h')).match(/queued (\d+)/)[1]);
  assert.ok(queued >= kept - 4 && queued <= kept + 4, `${queued} of ${kept}`);
  assert.match(output(sync('backfill', 'second')), /^queued 0$/m, 'again: nothing twice');

  // other bytes under the name of a frame: set aside, with the reason
  const beside = (name) => path.join(disk('second'), path.relative(disk('first'), name));
  const name = files(disk('first')).find((one) => !fs.existsSync(beside(one))); // some came before the pause
  const there = beside(name);
  fs.mkdirSync(path.dirname(there), { recursive: true });
  fs.writeFileSync(there, 'something else');
  output(sync('resume'));
  await until('the quarantine', () => remote('second').quarantined === 1 && remote('second').pending === 0);
  assert.strictEqual(sync('--wait').status, 6);
  const listed = sync('quarantine', '--json');
  assert.strictEqual(listed.status, 6);
  const row = JSON.parse(listed.stdout);
  assert.strictEqual(row.remote, 'second');
  assert.match(row.reason, /other bytes/);
  assert.ok(name.includes(row.sha256));
  assert.match(sync('quarantine', 'second').stdout.toString(), new RegExp(`second +${row.frame}.*other bytes`));
  assert.strictEqual(sync('quarantine', 'first').stdout.toString(), '');
  assert.strictEqual(sync('quarantine', 'nobody').status, 3);
  assert.match(output(sync('retry', row.frame)), /released 1/);
  await until('the quarantine again', () => remote('second').quarantined === 1);
  assert.strictEqual(run('rm', row.frame, '--config', config).status, 8, 'it is owed');

  // given up: only with --force; owed no longer, and the log remembers
  assert.strictEqual(sync('drop', 'second').status, 8);
  assert.match(output(sync('drop', 'second', '--dry-run')), /would give up 1/);
  assert.strictEqual(remote('second').quarantined, 1);
  assert.strictEqual(await stop(daemon), 0);
  assert.match(output(sync('drop', row.sha256.slice(0, 12), '--remote', 'first', '--force')), /gave up 0/);
  assert.match(output(sync('drop', 'second', '--force')), /gave up 1/); // without a daemon
  assert.strictEqual(remote('second').quarantined, 0);
  fs.rmSync(path.join(dir, 'store', 'index.db'));
  const rebuilt = remote('second');
  assert.deepStrictEqual([rebuilt.quarantined, rebuilt.pending], [0, 0]);
  output(run('rm', row.frame, '--config', config));

  // and what is wrong is said
  assert.strictEqual(sync('drop').status, 2);
  assert.strictEqual(sync('pauze').status, 2);
  assert.strictEqual(sync('drop', 'no-such-thing', '--force').status, 2);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log(`kept ${kept}, queued by the backfill ${queued}, set aside 1, given up 1`);
});
