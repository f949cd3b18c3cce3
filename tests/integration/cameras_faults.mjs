// Cameras that send garbage, go silent, never end their headers, die, or change size in mid-stream, beside a good one:
// each is given up in its time, said so, and tried again; the good one never loses a frame to them.
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { controlAnswers, main, run, runJson, scratch, sourceDir, startDaemon, stop, until, writeConfig } from '../lib.mjs';

const ffmpeg = (...args) => execFileSync('ffmpeg', ['-nostdin', '-loglevel', 'error', ...args], { maxBuffer: 1 << 26 });
const picture = (size) => ffmpeg('-f', 'lavfi', '-i', `testsrc2=size=${size}`, '-frames:v', '1', '-f', 'mjpeg', '-');
const clip = (size) => ffmpeg('-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=10`, '-frames:v', '20', '-c:v', 'libx264',
  '-preset', 'ultrafast', '-g', '10', '-pix_fmt', 'yuv420p', '-f', 'mpegts', '-');

const servers = [];
const sockets = new Set();
const connections = {};

function listening(server) {
  servers.push(server);
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
}

// A server that only knows TCP: `serve` gets each socket after its first bytes have come.
function raw(name, serve) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      connections[name] = (connections[name] || 0) + 1;
      serve(socket);
    });
  });
  return listening(server);
}

const every = (socket, ms, what) => {
  const timer = setInterval(() => socket.write(what()), ms);
  socket.on('close', () => clearInterval(timer));
};

const part = (bytes) => Buffer.concat([
  Buffer.from(`--b\r\nContent-Type: image/jpeg\r\nContent-Length: ${bytes.length}\r\n\r\n`), bytes, Buffer.from('\r\n')]);

// Motion-JPEG of `pictures`, ten a second; `most` of them, then the connection ends.
function motionJpeg(pictures, most = Infinity) {
  return http.createServer((request, reply) => {
    reply.writeHead(200, { 'Content-Type': 'multipart/x-mixed-replace; boundary=b' });
    let sent = 0;
    const timer = setInterval(() => {
      if (sent >= most) return reply.destroy();
      return reply.write(part(pictures[Math.floor(sent++ / 5) % pictures.length]));
    }, 100);
    request.socket.on('close', () => clearInterval(timer));
  });
}

async function test() {
  const dir = scratch('camera-faults');
  const sizes = ['640x360', '1280x720', '320x240'];
  const pictures = sizes.map(picture);
  const clips = sizes.map(clip);
  const ok = 'HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n';
  const noise = (socket) => every(socket, 5, () => randomBytes(4096));
  const ports = {
    good: await listening(motionJpeg([pictures[0]])),
    sizes: await listening(motionJpeg(pictures)),
    dies: await listening(motionJpeg([pictures[0]], 5)),
    video: await listening(http.createServer((_, reply) => {
      reply.writeHead(200, { 'Content-Type': 'video/mp2t' });
      clips.forEach((bytes, i) => setTimeout(() => reply.write(bytes), 400 * i));
    })),
    garbage: await raw('garbage', noise),
    garbage2: await raw('garbage2', noise),
    garbage3: await raw('garbage3', noise),
    body: await raw('body', (socket) => { socket.write(ok); noise(socket); }),
    jpegs: await raw('jpegs', (socket) => {
      socket.write(ok);
      every(socket, 100, () => part(Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), randomBytes(5000)])));
    }),
    silent: await raw('silent', () => {}),
    silent2: await raw('silent2', () => {}),
    hush: await raw('hush', (socket) => { socket.write(ok); for (let i = 0; i < 3; i++) socket.write(part(pictures[0])); }),
    headers: await raw('headers', (socket) => { socket.write('HTTP/1.1 200 OK\r\n'); every(socket, 1, () => `X-${Date.now()}: a\r\n`); }),
    headers2: await raw('headers2', (socket) => { socket.write('RTSP/1.0 200 OK\r\n'); every(socket, 1, () => `X-${Date.now()}: a\r\n`); }),
    headers3: await raw('headers3', (socket) => { socket.write('HTTP/1.1 200 OK\r\nX: '); every(socket, 1, () => 'a'.repeat(999)); }),
    page: await listening(http.createServer((_, reply) => reply.end('<html>no picture</html>'))),
    denied: await listening(http.createServer((_, reply) => reply.writeHead(403).end())),
    large: await raw('large', (socket) => { socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n'); noise(socket); }),
  };
  const at = (name, scheme = 'http', more = 'timeout: 1s') =>
    `  ${name}: {source: "${scheme}://127.0.0.1:${ports[name]}/x", ${more}}\n`;
  const config = writeConfig(dir, `
device: {id: faults, clock: trusted}
cameras:
${at('good', 'http', 'fps: 10')}${at('sizes', 'http', 'fps: 10')}${at('dies', 'http', 'fps: 10')}${at('video', 'http', 'timeout: 10s')}${at('garbage')}${at('garbage2', 'rtsp')}${at('garbage3', 'rtmp')}
${at('body')}${at('jpegs', 'http', 'timeout: 1s, motion: 0.01')}${at('silent')}${at('silent2', 'rtsp')}${at('hush')}
${at('headers')}${at('headers2', 'rtsp')}${at('headers3', 'snapshot:http')}${at('page', 'snapshot:http')}${at('denied', 'snapshot:http')}
${at('large', 'snapshot:http')}
  nofile: {source: "video:${dir}/none.mp4"}
  nodevice: {source: "v4l2:/dev/video77", timeout: 1s}
model: {dir: ${path.join(sourceDir, 'inference/models/demo')}}
store: {dir: ${dir}/store, quota: 512MiB, min_free: off}
triage: {budget: {per: off, day: off}, empty_fraction: 1.0}
web: {listen: "off"}
ingest: {listen: "off"}
log: {level: debug}
`);
  const healthy = ['good', 'sizes', 'dies', 'video'];
  const daemon = await startDaemon(config, controlAnswers(config));
  const cameras = () => Object.fromEntries(runJson('status', '--json', '--config', config).cameras.map((camera) => [camera.name, camera]));
  const wanted = (now) => Object.values(now).every((camera) => healthy.includes(camera.name) || camera.errors >= 1) &&
    now.silent.errors >= 2 && now.garbage.errors >= 2 && connections.silent >= 2 && connections.garbage >= 2 &&
    now.dies.frames_seen > 5 && now.sizes.frames_seen > 15 && now.video.frames_seen > 40;
  let last;
  await until('every fault to be found, and tried again', () => { last = cameras(); return wanted(last); }, 45000).catch((error) => {
    console.error(Object.values(last).map((c) => `${c.name}: ${c.frames_seen} seen, ${c.errors} errors, ${c.last_error}`).join('\n'));
    throw error;
  });
  const before = cameras().good.frames_seen;
  await until('the good camera to go on', () => cameras().good.frames_seen >= before + 5, 10000);
  const after = cameras();
  for (const camera of Object.values(after)) {
    console.log(`${camera.name}: ${camera.frames_seen} frames, ${camera.bad} bad, ${camera.errors} errors; ${camera.last_error}`);
    if (!healthy.includes(camera.name)) assert.ok(camera.last_error, `${camera.name}: no reason given`);
  }
  assert.strictEqual(after.good.errors, 0);
  assert.strictEqual(after.sizes.errors + after.sizes.bad, 0);
  assert.ok(after.dies.errors >= 1);
  assert.match(after.silent.last_error, /took too long|no picture/);
  assert.match(after.denied.last_error, /403/);
  assert.match(after.nofile.last_error, /No such file/);
  assert.strictEqual(await stop(daemon), 0);

  const page = run('ls', '--json', '--limit', '500', '--config', config);
  const frames = page.stdout.toString().trim().split('\n').map((line) => JSON.parse(line));
  for (const name of ['sizes', 'video']) {
    const seen = new Set(frames.filter((frame) => frame.camera === name).map((frame) => `${frame.width}x${frame.height}`));
    assert.deepStrictEqual([...seen].sort(), [...sizes].sort(), `${name}: the sizes that were kept`);
  }
}

await main(() => test().finally(() => {
  for (const server of servers) server.close();
  for (const socket of sockets) socket.destroy();
}));
