// A frame that kills the worker twice costs only itself: it is set aside byte for byte, the log and the status name it,
// the same bytes are not tried again, and the frames beside it pass. The worker that dies is the hostile one of
// test_inference_detector, which ends on frames whose last byte is "P".
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import { buildDir, curlScore, freePort, main, photos, run, runJson, scratch, sha256, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const DIES_ON_POISON = 902; // enum hostile: the one number that reaches the worker is the width of thumbnails

await main(async () => {
  const dir = scratch('poison');
  const port = await freePort();
  const inbox = path.join(dir, 'inbox');
  const folder = path.join(dir, 'store', 'poison');
  fs.mkdirSync(inbox);
  fs.mkdirSync(path.join(dir, 'photos'));
  const config = writeConfig(dir, `
device: {id: poison, clock: trusted}
cameras: {dock: {source: "directory:${inbox}", after: delete}}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
inference: {worker: ${path.join(buildDir, 'tests/test_inference_detector')}, thumb_width: ${DIES_ON_POISON}, workers: 1}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}"}
`);
  const ready = () => run('status', '--config', config).status === 0;
  const [good, other] = photos(path.join(dir, 'photos'), 2);
  const poisoned = path.join(dir, 'poisoned.jpg');
  fs.writeFileSync(poisoned, Buffer.concat([fs.readFileSync(good), Buffer.from('P')]));
  const status = () => runJson('status', '--json', '--config', config).pipeline;

  let daemon = await startDaemon(config, ready);
  assert.strictEqual((await curlScore(port, good)).status, 200);
  const reply = await curlScore(port, poisoned);
  assert.ok(reply.status >= 400, `${reply.status}`);
  assert.match(reply.body, /ended the worker process 2 times/);
  const first = status();
  assert.strictEqual(first.workers[0].restarts, 1, 'one retry; the next frame starts the next worker');
  assert.deepStrictEqual([first.poison.dir, first.poison.files, first.poison.added], [folder, 1, 1]);
  const aside = path.join(folder, first.poison.last);
  assert.strictEqual(sha256(fs.readFileSync(aside)), sha256(fs.readFileSync(poisoned)));
  const told = fs.readFileSync(aside.replace('.jpg', '.txt'), 'utf8');
  assert.match(told, /camera: /);
  assert.match(told, new RegExp(sha256(fs.readFileSync(poisoned))));
  assert.match(fs.readFileSync(path.join(dir, 'daemon.log'), 'utf8'), new RegExp(`set aside.*${path.basename(aside)}.*2 times`));

  const again = await curlScore(port, poisoned);
  assert.ok(again.status >= 400 && again.body.includes(path.basename(aside)), again.body);
  assert.strictEqual(status().workers[0].restarts, 1, 'the same bytes cost no worker again');
  assert.strictEqual((await curlScore(port, good)).status, 200);

  // The same from a directory, where the file stays for its owner.
  fs.writeFileSync(path.join(inbox, 'a.jpg'), Buffer.concat([fs.readFileSync(other), Buffer.from('P')]));
  fs.copyFileSync(other, path.join(inbox, 'b.jpg'));
  await until('the good file', () => !fs.existsSync(path.join(inbox, 'b.jpg')));
  await until('the bad one', () => status().poison.files === 2);
  assert.ok(fs.existsSync(path.join(inbox, 'a.jpg')));
  const text = run('status', '--config', config).stdout.toString();
  assert.match(text, /poison +2 frames that ended a worker are set aside in/);
  assert.strictEqual(await stop(daemon), 0);

  daemon = await startDaemon(config, ready);
  assert.strictEqual(status().poison.files, 2, 'after a restart');
  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
});
