// What goes wrong beside a camera: each fault gives one clear error that names the thing, a counter, and harms nothing
// else.
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {
  account, answers, curlScore, freePort, main, run, runJson, scratch, sleep, sourceDir, startAzurite, startDaemon, stop,
  until, writeConfig,
} from '../lib.mjs';

const demoModel = path.join(sourceDir, 'inference', 'models', 'demo');
const log = (daemon) => fs.readFileSync(daemon.logFile, 'utf8');

function configText(dir, ingestPort, rest = '') {
  return `
device: {id: bad-input, clock: trusted}
model: {dir: ${demoModel}}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
web: {listen: "off"}
ingest: {listen: "127.0.0.1:${ingestPort}"}
${rest}`;
}

// A PNG header that promises 65,000 x 65,000 pixels.
function hugePng() {
  const bytes = Buffer.from('89504e470d0a1a0a0000000d494844520000fde80000fde808020000000000000000', 'hex');
  return Buffer.concat([bytes, Buffer.alloc(64)]);
}

async function frames(dir, goodPhoto) {
  const good = fs.readFileSync(goodPhoto);
  const inbox = path.join(dir, 'inbox');
  fs.mkdirSync(inbox);
  fs.writeFileSync(path.join(inbox, 'empty.jpg'), '');
  fs.writeFileSync(path.join(inbox, 'short.jpg'), good.subarray(0, good.length / 2));
  fs.writeFileSync(path.join(inbox, 'huge.png'), hugePng());
  fs.writeFileSync(path.join(inbox, 'noise.jpg'), Buffer.concat([good.subarray(0, 2), Buffer.alloc(5000, 7)]));
  for (let i = 0; i < 50; i++) fs.writeFileSync(path.join(inbox, `note-${i}.txt`), 'not a picture\n');
  fs.writeFileSync(path.join(inbox, 'good.jpg'), good);

  const port = await freePort();
  const config = writeConfig(dir, configText(dir, port, `cameras: {inbox: {source: "directory:${inbox}"}}`));
  const daemon = await startDaemon(config, answers(`http://127.0.0.1:${port}/`));
  const camera = await until('the good frame and the bad ones', () => {
    const [row] = runJson('status', '--json', '--config', config).cameras;
    return row.kept === 1 && row.bad + row.skipped + row.errors >= 54 ? row : null;
  });
  assert.strictEqual(fs.readdirSync(inbox).length, 55, 'after: leave removed something');
  assert.ok(camera.bad >= 1);
  assert.match(log(daemon), /short\.jpg|no usable image/);

  const cases = [['empty', Buffer.alloc(0), 400], ['text', Buffer.from('hello'), 400], ['huge', hugePng(), 400],
    ['truncated', good.subarray(0, good.length - 2000), 400]];
  for (const [name, bytes, status] of cases) {
    const file = path.join(dir, `${name}.bin`);
    fs.writeFileSync(file, bytes);
    const reply = await curlScore(port, file);
    assert.strictEqual(reply.status, status, `${name}: ${reply.status} ${reply.body}`);
    assert.ok(reply.body.length > 20, `${name}: no reason given`);
  }
  // A POST that stops midway.
  const socket = net.connect(port, '127.0.0.1');
  socket.write(`POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: ${good.length}\r\n\r\n`);
  socket.write(good.subarray(0, 1000));
  await sleep(200);
  socket.destroy();
  const after = await curlScore(port, goodPhoto, '?wait=stored');
  assert.ok([200, 204].includes(after.status), `a good frame after all that: ${after.status} ${after.body}`);
  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
  console.log('frames: ok');
}

async function models(dir) {
  const copy = (name, change) => {
    const to = path.join(dir, name);
    fs.cpSync(demoModel, to, { recursive: true });
    change(to);
    return to;
  };
  const weights = (to) => path.join(to, 'demo.weights');
  const cases = [
    ['no-cfg', (to) => fs.rmSync(path.join(to, 'demo.cfg')), /demo\.cfg/],
    ['short-weights', (to) => fs.truncateSync(weights(to), 1000), /demo\.weights/],
    ['garbage-weights', (to) => fs.writeFileSync(weights(to), Buffer.alloc(fs.statSync(weights(to)).size, 0xa5)), /demo\.weights/],
    ['garbage-cfg', (to) => fs.writeFileSync(path.join(to, 'demo.cfg'), Buffer.alloc(300, 0xff)), /demo\.cfg/],
    ['no-model', (to) => fs.rmSync(to, { recursive: true }), /no-model/],
  ];
  for (const [name, change, names] of cases) {
    const to = copy(name, change);
    const result = run('model', 'check', to, '--set', `store.dir=${dir}/none`);
    assert.notStrictEqual(result.status, 0, name);
    assert.match(result.stderr, names, name);
    assert.strictEqual(result.stderr.trim().split('\n').length, 1, `${name}: more than one line: ${result.stderr}`);
    const start = run('run', '--seconds', '1', '--set', `model.dir=${to}`, '--set', `store.dir=${dir}/none`,
      '--set', 'web.listen=off', '--set', 'ingest.listen=off');
    assert.strictEqual(start.status, 78, `${name}: ${start.status} ${start.stderr}`);
  }
  console.log('models: ok');
}

async function remotes(dir, goodPhoto) {
  const [port, azuritePort, closedPort] = [await freePort(), await freePort(), await freePort()];
  fs.mkdirSync(path.join(dir, 'azurite'));
  const azurite = await startAzurite(path.join(dir, 'azurite'), azuritePort);
  const wrongKey = Buffer.alloc(64, 1).toString('base64');
  const config = writeConfig(dir, configText(dir, port, `
sync:
  remotes:
    unreachable: {type: azure, url: "http://127.0.0.1:${closedPort}/${account}", account_key: "${wrongKey}", required: true}
    wrongkey: {type: azure, url: "http://127.0.0.1:${azuritePort}/${account}", account_key: "${wrongKey}", create_containers: true, required: true}
    shelf: {type: directory, path: "${dir}/shelf"}
`));
  const daemon = await startDaemon(config, answers(`http://127.0.0.1:${port}/`));
  await curlScore(port, goodPhoto, '?wait=stored');
  const status = await until('the good remote, and errors of the others', () => {
    const now = runJson('status', '--json', '--config', config);
    const by = Object.fromEntries(now.sync.map((remote) => [remote.name, remote]));
    return by.shelf.done === 1 && by.unreachable.last_error && by.wrongkey.last_error ? by : null;
  });
  assert.strictEqual(status.unreachable.pending, 1);
  assert.strictEqual(status.wrongkey.pending + status.wrongkey.quarantined, 1);
  assert.match(status.unreachable.last_error, /127\.0\.0\.1/);
  assert.match(status.wrongkey.last_error, /key|credential|Authenti|Authoriz/i);
  assert.ok(!log(daemon).includes(wrongKey), 'a key is in the log');
  assert.ok(!JSON.stringify(status).includes(wrongKey), 'a key is in the status');
  assert.strictEqual(await stop(daemon), 0);
  await stop(azurite);
  console.log('remotes: ok');
}

// A file system of its own, filled by somebody else: puts fail and are counted, nothing kept is lost, and when there is
// room again the store goes on by itself.
async function fullDisk(dir, goodPhoto) {
  const mount = path.join(dir, 'disk');
  fs.mkdirSync(mount);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', mount]).status !== 0) {
    throw new Error('cannot mount a tmpfs; this test runs as root');
  }
  try {
    const port = await freePort();
    const config = writeConfig(dir, configText(mount, port).replace('quota: 512MiB', 'quota: "off"'));
    const daemon = await startDaemon(config, answers(`http://127.0.0.1:${port}/`));
    const first = await curlScore(port, goodPhoto, '?wait=stored');
    const id = first.headers.get('creel-frame');
    assert.ok(id, `not kept at first: ${first.status} ${first.body}`);
    const hog = path.join(mount, 'hog');
    spawnSync('sh', ['-c', `cat /dev/zero > '${hog}' 2>/dev/null`]);
    const answersWhileFull = new Set();
    const acknowledged = new Map();
    for (let i = 0; i < 60; i++) {
      const file = path.join(dir, 'variant.jpg');
      const bytes = Buffer.concat([fs.readFileSync(goodPhoto), Buffer.alloc(2000000, i + 1)]);
      fs.writeFileSync(file, bytes);
      const wait = i % 2 === 0;
      const reply = await curlScore(port, file, wait ? '?wait=stored' : '');
      if (!wait || reply.status !== 503) answersWhileFull.add(reply.status); // who waits for the store is told
      if (wait && reply.headers.get('creel-frame')) acknowledged.set(reply.headers.get('creel-frame'), bytes);
    }
    for (const status of answersWhileFull) assert.ok([200, 204].includes(status), `detection answered ${status}`);
    const status = JSON.parse(run('status', '--json', '--config', config).stdout);
    assert.ok(status.store.failed > 0, 'nothing was refused on a full disk');
    const complaints = log(daemon).split('\n').filter((line) => /not kept|No space left|disk is full|store is full/.test(line));
    assert.ok(complaints.length > 0 && complaints.length <= 4, `said ${complaints.length} times:\n${complaints.join('\n')}`);
    fs.rmSync(hog);
    await until('room again', async () => {
      const reply = await curlScore(port, goodPhoto, '?wait=stored&stream=later');
      return reply.headers.get('creel-frame');
    });
    acknowledged.set(id, fs.readFileSync(goodPhoto));
    let evicted = 0;
    for (const [frame, bytes] of acknowledged) {
      const got = run('get', frame, '--output', path.join(dir, 'back.jpg'), '--config', config);
      if (got.status === 3) { // what was worth less made room, and the ledger says so
        const why = run('why', frame, '--config', config).stdout.toString();
        assert.match(why, /evicted +store.quota or store.min_free/, why);
        evicted++;
        continue;
      }
      assert.strictEqual(got.status, 0, got.stderr.toString());
      assert.ok(fs.readFileSync(path.join(dir, 'back.jpg')).equals(bytes), `${frame} is not what was acknowledged`);
    }
    console.log(`full disk: ${status.store.failed} refused; of ${acknowledged.size} acknowledged ${evicted} made room, the others are there`);
    assert.strictEqual(await stop(daemon), 0);
    const fsck = run('fsck', '--config', config);
    assert.strictEqual(fsck.status, 0, fsck.stdout.toString());
  } finally {
    spawnSync('umount', ['-l', mount]);
  }
  console.log('full disk: ok');
}

function configs(dir) {
  const cases = [
    ['store: {quotta: 1GiB}', /:1:\d+: .*quotta.*store\.quota/s],
    ['store: {quota: 20 bananas}', /:1:\d+: .*20 bananas/s],
    ['cameras: {dock: {source: "ftp://x"}}', /:1:\d+: .*ftp/s],
    ['sync: {remotes: {c: {type: azure, account_key: "${NO_SUCH_VARIABLE}"}}}', /NO_SUCH_VARIABLE/],
    ['store: [', /:\d+:\d+:/],
  ];
  for (const [text, expected] of cases) {
    const result = run('config', 'check', '--config', writeConfig(dir, text));
    assert.strictEqual(result.status, 78, `${text}: exit ${result.status}`);
    assert.match(result.stderr, expected, text);
  }
  const empty = run('config', 'check', '--config', writeConfig(dir, ''));
  assert.strictEqual(empty.status, 0, empty.stderr);
  console.log('configs: ok');
}

await main(async () => {
  const photoDir = ['/usr/share/darknet/data', path.join(sourceDir, 'build/darknet/usr/share/darknet/data')].find(fs.existsSync);
  const good = path.join(photoDir, 'dog.jpg');
  configs(scratch('configs'));
  await models(scratch('models'));
  await frames(scratch('frames'), good);
  await remotes(scratch('remotes'), good);
  await fullDisk(scratch('full'), good);
});
