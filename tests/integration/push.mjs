// Pictures pushed by curl in every form that is taken, made by ffmpeg from a scene of the demo camera: each finds what
// the JPEG finds, and what is refused says why and does no harm.
import assert from 'node:assert';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { answers, freePort, main, nodeDir, run, runJson, scratch, sha256, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const require = createRequire(path.join(nodeDir, 'package.json'));
const Ajv = require('ajv/dist/2020').default;

const WIDTH = 322, HEIGHT = 181; // odd sides: planes of colour are rounded up
const BODY_MAX = 1 << 20;
const SCENES = 6; // to choose from

function ffmpeg(input, ...args) {
  return execFileSync('ffmpeg', ['-v', 'error', '-i', input, ...args, '-'], { maxBuffer: 1 << 28 });
}

// {status, type, body (Buffer), headers (Map)} of one curl.
function curl(url, ...args) {
  const result = spawnSync('curl', ['-s', '-i', '--noproxy', '*', '--max-time', '30', ...args, url], { maxBuffer: 1 << 26 });
  assert.strictEqual(result.status, 0, `curl ${args.join(' ')}: exit ${result.status}`);
  let text = result.stdout;
  for (;;) { // "100 Continue" comes first
    const end = text.indexOf('\r\n\r\n');
    const [first, ...lines] = text.subarray(0, end).toString().split('\r\n');
    const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
    const status = Number(first.split(' ')[1]);
    text = text.subarray(end + 4);
    if (status >= 200) return { status, type: headers.get('content-type'), body: text, headers };
  }
}

const boxes = (reply) => (reply.status === 204 ? [] : JSON.parse(reply.body).inferences)
  .map(({ entity }) => ({ label: entity.tag.value, confidence: entity.tag.confidence, ...entity.box }))
  .sort((a, b) => a.label.localeCompare(b.label) || a.l - b.l);

// Colours lose a little on their way through a format: confidences and boxes move a little. What is sure in one list must
// be in the other.
function same(found, expected, what) {
  const near = (a, b) => a.label === b.label && ['l', 't', 'w', 'h'].every((key) => Math.abs(a[key] - b[key]) < 0.06);
  for (const [from, to] of [[found, expected], [expected, found]]) {
    for (const box of from.filter(({ confidence }) => confidence > 0.8)) {
      assert.ok(to.some((other) => near(box, other)), `${what}: ${JSON.stringify(box)} is not in ${JSON.stringify(to)}`);
    }
  }
}

const problem = (reply, status, says, what) => {
  assert.strictEqual(reply.status, status, `${what}: ${reply.status} ${reply.body}`);
  assert.strictEqual(reply.type, 'application/problem+json', what);
  assert.match(JSON.parse(reply.body).detail, says, what);
};

await main(async () => {
  const dir = scratch('push');
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const configure = (cameras) => writeConfig(dir, `
version: 1
device: {id: test-device, clock: trusted}
${cameras}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
store: {dir: ${dir}/store, quota: 1GiB, min_free: off}
web: {listen: "off"}
inference: {queue: 2}
ingest: {listen: "127.0.0.1:${port}", body_max: ${BODY_MAX / 1024}KiB}
`);
  // A scene with something in it, far enough from the thresholds.
  let config = configure('cameras: {demo: {source: "demo:", seed: 3, fps: 20}}');
  let daemon = await startDaemon(config, answers(`${base}/`));
  const clear = ({ detections }) => detections.filter(({ confidence }) => confidence > 0.8).length >= 2 &&
    detections.every(({ confidence }) => confidence > 0.8 || confidence < 0.15);
  const kept = () => {
    const rows = run('ls', '--json', '--tier', 'annotated', '--config', config).stdout.toString().trim().split('\n');
    const found = rows.filter(Boolean).map((row) => JSON.parse(row)).filter(clear);
    return found.length >= SCENES && found.slice(0, SCENES);
  };
  const scenes = (await until('scenes', kept)).map(({ id }, i) => {
    fs.writeFileSync(path.join(dir, `scene-${i}.jpg`), run('get', id, '--config', config).stdout);
    return path.join(dir, `scene-${i}.jpg`);
  });
  assert.strictEqual(await stop(daemon), 0);
  config = configure('');
  daemon = await startDaemon(config, answers(`${base}/`));

  const file = (name, bytes) => { fs.writeFileSync(path.join(dir, name), bytes); return path.join(dir, name); };
  const post = (query, type, name, ...args) => curl(`${base}${query}`, '-H', `Content-Type: ${type}`, '--data-binary', `@${name}`, ...args);
  const shown = async (reply) => { // durable: the index may be a moment behind
    const args = ['show', reply.headers.get('creel-frame'), '--json', '--config', config];
    await until('the frame in the index', () => run(...args).status === 0);
    return runJson(...args);
  };
  let png, expected = [];
  const sure = () => expected.filter(({ confidence }) => confidence > 0.8).length >= 2;
  for (let i = 0; i < SCENES && !sure(); i++) {
    png = file('scene.png', ffmpeg(scenes[i], '-vf', `scale=${WIDTH}:${HEIGHT}`, '-f', 'image2', '-c:v', 'png'));
    expected = boxes(post('/score?confidence=0.3', 'image/png', png));
  }
  assert.ok(sure(), 'nothing in the scenes: the test shows nothing');
  const jpeg = file('small.jpg', ffmpeg(png, '-f', 'image2', '-c:v', 'mjpeg', '-q:v', '2'));
  same(boxes(post('/score?confidence=0.3', 'image/jpeg', jpeg)), expected, 'JPEG');
  const bmp = file('small.bmp', ffmpeg(png, '-f', 'image2', '-c:v', 'bmp'));
  for (const type of ['image/bmp', 'application/octet-stream']) {
    const reply = post('/score?confidence=0.3&wait=stored', type, bmp);
    same(boxes(reply), expected, `BMP as ${type}`);
    const frame = await shown(reply);
    assert.match(frame.media, /^image\/(jpeg|png)$/, 'a BMP is stored as what everybody can show');
    assert.deepStrictEqual([frame.width, frame.height], [WIDTH, HEIGHT]);
  }
  problem(post('/score', 'image/bmp', file('cut.bmp', fs.readFileSync(bmp).subarray(0, 3000))), 400, /BMP/, 'a BMP that is cut off');
  const size = `width=${WIDTH}&height=${HEIGHT}`;
  for (const [format, range] of [['yuv420p', ''], ['yuv420p', 'video'], ['yuv420p', 'full'], ['rgb24', ''], ['bgr24', '']]) {
    const pixels = range === 'full' ? 'yuvj420p' : format;
    const raw = file('scene.raw', ffmpeg(png, '-f', 'rawvideo', '-pix_fmt', pixels));
    const query = `pixelFormat=${format}&${size}${range ? `&range=${range}` : ''}`;
    const reply = post(`/score?confidence=0.3&stream=raw&wait=stored&${query}`, 'image/x-raw', raw);
    assert.ok(reply.status === 200, `${query}: ${reply.status} ${reply.body}`);
    same(boxes(reply), expected, query);
    const frame = await shown(reply);
    assert.deepStrictEqual([frame.media, frame.width, frame.height, frame.camera], ['image/jpeg', WIDTH, HEIGHT, 'raw'], query);
    const stored = run('get', frame.id, '--config', config).stdout;
    assert.strictEqual(sha256(stored), frame.sha256);
    // What is kept is the picture that came. Seen from afar, where noise and JPEG's blocks are gone, a wrong range, order
    // of colours or row length would show.
    const [got, want] = [file('stored.jpg', stored), png].map((name) =>
      ffmpeg(name, '-vf', 'scale=32:18:flags=area', '-f', 'rawvideo', '-pix_fmt', 'rgb24'));
    const difference = got.reduce((sum, value, i) => sum + Math.abs(value - want[i]), 0) / want.length;
    assert.ok(difference < 2.5, `${query}: the stored picture differs by ${difference}`);
    fs.truncateSync(raw, fs.statSync(raw).size - 1);
    problem(post(`/score?${query}`, 'image/x-raw', raw), 400, new RegExp(`${WIDTH} x ${HEIGHT}.*bytes`), `${query}, a byte short`);
  }
  problem(post('/score', 'image/x-raw', png), 400, /pixelFormat=/, 'no size');
  problem(post('/score?pixelFormat=rgb565le&width=4&height=4', 'image/x-raw', png), 400, /yuv420p, rgb24 or bgr24/, 'other pixels');
  problem(post('/score', 'image/gif', png), 415, /image\/jpeg/, 'another type');
  problem(post('/score', 'image/png', file('large', Buffer.alloc(BODY_MAX + 1))), 413, /ingest\.body_max/, 'too large');
  problem(post('/score', 'image/png', file('cut.png', fs.readFileSync(png).subarray(0, 3000))), 400, /PNG/, 'cut off');

  // /annotate: the same picture with lines where boxes are, whatever form it came in.
  const pixels = (name) => ffmpeg(name, '-f', 'rawvideo', '-pix_fmt', 'rgb24');
  const plain = pixels(png);
  const raw = file('scene.raw', ffmpeg(png, '-f', 'rawvideo', '-pix_fmt', 'bgr24'));
  for (const [query, type, name] of [['?confidence=0.3', 'image/png', png], ['?confidence=0.3', 'image/jpeg', jpeg],
    [`?confidence=0.3&pixelFormat=bgr24&${size}`, 'image/x-raw', raw]]) {
    const reply = post(`/annotate${query}`, type, name);
    assert.deepStrictEqual([reply.status, reply.type], [200, 'image/jpeg'], `${type}: ${reply.body.subarray(0, 200)}`);
    const drawn = pixels(file('drawn.jpg', reply.body));
    assert.strictEqual(drawn.length, plain.length);
    const changed = (x, y) => {
      const at = (Math.min(y, HEIGHT - 1) * WIDTH + Math.min(x, WIDTH - 1)) * 3;
      return [0, 1, 2].some((i) => Math.abs(drawn[at + i] - plain[at + i]) > 25);
    };
    for (const box of boxes(post(`/score${query}`, type, name))) {
      const under = Math.round(box.t * HEIGHT) + Math.round(box.h * HEIGHT) - 1;
      let hits = 0;
      for (let x = 0; x < 1; x += 0.02) hits += [-1, 0, 1].some((y) => changed(Math.round((box.l + box.w * x) * WIDTH), under + y));
      assert.ok(hits > 30, `${type}: ${hits} of 50 dots of a line under ${JSON.stringify(box)}`);
    }
  }
  const none = pixels(file('drawn.jpg', post('/annotate?object=nothing', 'image/png', png).body));
  assert.ok(none.reduce((sum, value, i) => sum + (Math.abs(value - plain[i]) > 40), 0) < none.length / 500, 'nothing to draw, but drawn');

  // /image: what Custom Vision's container and its cloud answer; a form, or the bytes.
  const { components } = JSON.parse(fs.readFileSync(path.join(sourceDir, 'schemas/openapi.json'), 'utf8'));
  const validate = new Ajv({ strict: false, validateFormats: false }).compile(components.schemas.prediction);
  const predictions = (reply, what) => {
    assert.strictEqual(reply.status, 200, `${what}: ${reply.status} ${reply.body}`);
    const { id, project, iteration, created, predictions: list, ...rest } = JSON.parse(reply.body);
    for (const uuid of [id, project, iteration]) assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, what);
    assert.ok(Math.abs(Date.parse(created) - Date.now()) < 60000, created);
    assert.deepStrictEqual(rest, {}, what);
    assert.ok(validate(JSON.parse(reply.body)), `${what}: ${JSON.stringify(validate.errors)}`);
    return list.filter(({ probability }) => probability >= 0.3);
  };
  const asBoxes = (list) => list.map(({ tagName, probability, boundingBox: box }) => ({ label: tagName, confidence: probability, l: box.left, t: box.top, w: box.width, h: box.height }))
    .sort((a, b) => a.label.localeCompare(b.label) || a.l - b.l);
  const frames = () => Object.values(runJson('status', '--json', '--config', config).store).reduce((sum, tier) => sum + (tier?.frames ?? 0), 0);
  for (const [address, ...args] of [
    ['/image', '-F', `imageData=@${png}`],
    ['/image', '-F', 'application=test', '-F', `imageData=@${jpeg};type=image/jpeg`],
    ['/image', '-H', 'Content-Type: application/octet-stream', '--data-binary', `@${png}`],
    [`/image?pixelFormat=bgr24&${size}`, '-H', 'Content-Type: application/octet-stream', '--data-binary', `@${raw}`],
    ['/customvision/v3.0/Prediction/11111111-2222-4333-8444-555555555555/detect/iterations/Iteration1/image', '-F', `imageData=@${png}`],
  ]) same(asBoxes(predictions(curl(`${base}${address}`, ...args), address)), expected, `${address} ${args[0]}`);
  const tags = predictions(curl(`${base}/p/classify/iterations/n/image`, '-F', `imageData=@${png}`), 'classify');
  assert.deepStrictEqual(tags.map(({ tagName }) => tagName).sort(), [...new Set(expected.map(({ label }) => label))].sort(), 'classify');
  assert.ok(tags.every(({ boundingBox }) => boundingBox === null), 'classify: boxes');
  // What may not be stored is not: neither as a frame nor anywhere else below the store.
  await shown(curl(`${base}/image?wait=stored`, '-F', `imageData=@${png}`)); // and with it, all that came before
  const before = frames();
  const secret = file('secret.png', ffmpeg(png, '-vf', 'eq=brightness=0.02', '-f', 'image2', '-c:v', 'png'));
  for (let i = 0; i < 3; i++) predictions(curl(`${base}/image/nostore?wait=stored`, '-F', `imageData=@${secret}`), 'nostore');
  assert.strictEqual(frames(), before, 'a frame was kept that may not be');
  const needle = fs.readFileSync(secret).subarray(200, 260);
  const holders = fs.readdirSync(path.join(dir, 'store'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .filter((entry) => fs.readFileSync(path.join(entry.path, entry.name)).includes(needle));
  assert.deepStrictEqual(holders.map(({ name }) => name), [], 'bytes that may not be stored');
  problem(curl(`${base}/image`, '-F', `file=@${png}`), 400, /imageData/, 'a form without imageData');
  problem(curl(`${base}/score`, '-F', `imageData=@${png}`), 415, /\/image takes/, 'a form at /score');
  problem(curl(`${base}/url`, '-H', 'Content-Type: application/json', '-d', `{"url": "${base}/"}`), 501, /bytes to \/image/, 'an address');

  // More at once than the queue holds: each has its verdict, or is told when to come again.
  const many = spawnSync('curl', ['-s', '--noproxy', '*', '-o', '/dev/null', '-Z', '--parallel-immediate', '--parallel-max', '100',
    '-w', '%{http_code} %header{retry-after}\n', '-H', 'Content-Type: image/jpeg', '--data-binary', `@${scenes[0]}`,
    `${base}/score?n=[1-100]`]).stdout.toString().trim().split('\n').map((line) => line.trim());
  assert.strictEqual(many.length, 100);
  assert.ok(many.every((line) => line === '200' || line === '503 1'), `${many}`);
  assert.ok(many.includes('200') && many.includes('503 1'), `${many}`);

  // Streams become cameras, but not without end.
  const statuses = spawnSync('curl', ['-s', '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}\n', '-H', 'Content-Type: image/png',
    '--data-binary', `@${png}`, `${base}/score?confidence=1&stream=door-[0-129]`]).stdout.toString().trim().split('\n');
  const taken = statuses.indexOf('409');
  assert.ok(taken >= 64 && statuses.slice(0, taken).every((status) => status === '204'), `${taken}: ${statuses}`);
  assert.ok(statuses.slice(taken).every((status) => status === '409'), `${statuses}`);
  problem(post('/score?stream=another', 'image/png', png), 409, /stream another: 128 .*restart/, 'too many streams');
  assert.strictEqual(post('/score?confidence=1&stream=raw', 'image/png', png).status, 204, 'a known stream');

  assert.strictEqual(await stop(daemon), 0);
  assert.strictEqual(run('fsck', '--config', config).status, 0);
});
