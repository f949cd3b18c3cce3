// Triage in a running daemon: a flicker's middle frame is kept after all, POST /trigger keeps what was around it, a
// rule's own budget holds, a better frame displaces a worse one before a remote has it, the record replayed gives what
// was kept, and SIGHUP brings other rules.
import assert from 'node:assert';
import fs from 'node:fs';
import path from 'node:path';
import {
  answers, freePort, main, run, runJson, scratch, sha256, sourceDir, startDaemon, stop, until,
  writeConfig,
} from '../lib.mjs';

const frames = (config, camera) =>
  run('ls', '--config', config, '--camera', camera, '--limit', '100', '--json').stdout.toString().split('\n')
    .filter((line) => line).map((line) => JSON.parse(line));

const local = (config, camera) => frames(config, camera).filter((frame) => frame.place === 'local');

// The same picture as other bytes: with a comment.
const varied = (jpeg, letter) =>
  Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xfe, 0, 3, letter.charCodeAt(0)]), jpeg.subarray(2)]);

function configText(dir, port, rules, least = 1) {
  return `
version: 1
device: {id: test-device, clock: trusted}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
inference: {workers: 1}
cameras:
  eyes: {source: "demo:", fps: 25}
triage:
  budget: {per: off, day: off}
  rules: [${rules}]
  define:
    lost: {kind: flicker, cameras: [lane]}
    on-demand: {kind: trigger, cameras: [door], before: 30s, after: 30s}
    sure: {kind: confident, cameras: [eyes], budget: {hour: 3}}
    best: {kind: count, cameras: [late], min: ${least}, budget: {per: 3s}}
    nothing: {kind: empty-sample, cameras: [eyes], fraction: 1, budget: {hour: 2}}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${port}", token: "let me in"}
sync: {remotes: {disk: {type: directory, path: ${dir}/remote}}}
`;
}

await main(async () => {
  const dir = scratch('triage');
  const port = await freePort();
  const config = writeConfig(dir, configText(dir, port, 'lost, on-demand, sure, nothing'));
  const daemon = await startDaemon(config, answers(`http://127.0.0.1:${port}/`));
  const headers = { Authorization: 'Bearer let me in' };
  const score = async (camera, bytes) => {
    const reply = await fetch(`http://127.0.0.1:${port}/score?stream=${camera}&wait=stored`, {
      method: 'POST', headers: { ...headers, 'Content-Type': 'image/jpeg' }, body: bytes });
    assert.ok(reply.status === 200 || reply.status === 204, `${reply.status} ${await reply.text()}`);
    return reply.headers.get('creel-frame');
  };
  const trigger = (camera, own = headers) =>
    fetch(`http://127.0.0.1:${port}/trigger?camera=${camera}`, { method: 'POST', headers: own });

  // A frame with things that the model is sure of, and one with nothing, as the demo camera renders them.
  const kept = (rule) => local(config, 'eyes').filter((frame) => frame.rule === rule);
  await until('frames of both rules', () => kept('sure').length > 0 && kept('nothing').length > 0, 60000);
  const bytesOf = (frame) => run('get', frame.id, '--config', config).stdout;
  const full = bytesOf(kept('sure')[0]);
  const blank = bytesOf(kept('nothing')[0]);
  assert.ok(full.length > 1000 && blank.length > 1000);

  // Flicker: the caller hears that the blank frame is not kept; then it is.
  for (const bytes of [full, full]) assert.strictEqual(await score('lane', bytes), null);
  assert.strictEqual(await score('lane', blank), null);
  assert.deepStrictEqual(frames(config, 'lane'), []);
  assert.strictEqual(await score('lane', full), null);
  await until('the middle frame', () => frames(config, 'lane').length === 1);
  const [middle] = frames(config, 'lane');
  assert.strictEqual(middle.rule, 'lost');
  assert.strictEqual(middle.tier, 'unannotated');
  assert.ok(middle.value >= 0.6 && middle.value <= 0.9, `value ${middle.value}`);
  assert.strictEqual(sha256(bytesOf(middle)), sha256(blank));

  // Trigger: three frames before, one after; who may not, and what is not there, is told so.
  for (const bytes of [full, blank, full]) assert.strictEqual(await score('door', bytes), null);
  assert.strictEqual((await trigger('door', {})).status, 401);
  assert.strictEqual((await trigger('DOOR')).status, 400);
  assert.strictEqual((await trigger('nowhere')).status, 404);
  assert.strictEqual((await trigger('lane')).status, 404);
  assert.strictEqual((await fetch(`http://127.0.0.1:${port}/trigger?camera=door`, { headers })).status, 405);
  const reply = await trigger('door');
  assert.strictEqual(reply.status, 200);
  assert.deepStrictEqual(await reply.json(), { camera: 'door', frames_before: 3 });
  assert.ok(await score('door', blank), 'the frame after the event is kept');
  await until('the frames around the event', () => frames(config, 'door').length === 4);
  assert.ok(frames(config, 'door').every((frame) => frame.rule === 'on-demand'));

  // The rule's own budget: the demo camera has shown more than three by now.
  const seen = () => runJson('status', '--config', config, '--json').pipeline.frames_seen;
  const enough = seen() + 25;
  await until('more frames', () => seen() > enough);
  await until('what was displaced to go', () => kept('sure').length <= 3 && kept('nothing').length <= 2);

  // Replayed with its own rules, the record gives what was kept; with none, nothing.
  const replayed = (rule) => {
    const simulated = runJson('simulate', '--config', config, '--since', '1d', '--json');
    assert.ok(simulated.replayed.inputs >= 25 && simulated.asked.projected === false, JSON.stringify(simulated.asked));
    const rows = simulated.rules.filter((row) => row.rule === rule);
    assert.strictEqual(rows.length, 1, `${rule}: ${JSON.stringify(rows)}`);
    return rows[0];
  };
  for (const [rule, most] of [['lost', 1], ['sure', 3], ['nothing', 2]]) {
    await until(`the record of ${rule}`, () => {
      const { would, kept: really } = replayed(rule);
      return would.frames > 0 && would.frames <= most && would.frames === really.frames && would.bytes === really.bytes;
    });
  }
  const none = runJson('simulate', '--config', config, '--set', 'triage.rules=on-demand', '--json');
  assert.deepStrictEqual(none.total.would, { frames: 0, bytes: 0 });
  assert.ok(none.total.kept.bytes > 1000);
  assert.match(run('simulate', '--config', config).stdout.toString(), /^replayed \d+ frames[^]*\nall .*\n/);
  assert.strictEqual(run('simulate', '--config', config, '--since', 'soon').status, 2);

  // Other rules by SIGHUP: on-demand is no longer in force, best is. The worse frame comes first; it goes for the better
  // one, and the remote never has it.
  const sureThings = kept('sure')[0].detections.filter((detection) => detection.confidence >= 0.6).length;
  fs.writeFileSync(config, configText(dir, port, 'sure, best', sureThings + 1));
  daemon.kill('SIGHUP');
  await until('the new rules', async () => (await trigger('door')).status === 404);
  const uploaded = () => fs.readdirSync(`${dir}/remote`, { recursive: true }).map((name) => path.basename(name));
  const [worse, better] = [varied(full, 'w'), varied(blank, 'b')];
  const worseId = await score('late', worse);
  const betterId = await score('late', better);
  assert.ok(worseId && betterId, 'both are kept at first');
  assert.ok(!uploaded().includes(`${sha256(better)}.jpg`), 'the better one waits for the end of its window');
  await until('the worse frame to go', () => local(config, 'late').length === 1);
  assert.strictEqual(local(config, 'late')[0].id, betterId);
  assert.match(run('why', worseId, '--config', config).stdout.toString(), /a better frame took its place/);
  await until('the better frame at the remote', () => uploaded().includes(`${sha256(better)}.jpg`));
  assert.ok(!uploaded().includes(`${sha256(worse)}.jpg`));
  assert.strictEqual(await stop(daemon), 0);

  // And an unknown name is one error with a way out.
  fs.writeFileSync(config, configText(dir, port, 'sure, flickr'));
  const check = run('config', 'check', '--config', config);
  assert.strictEqual(check.status, 78);
  assert.match(check.stdout.toString() + check.stderr, /there is no rule 'flickr'; known are: unsure, .*triage\.define/);
});
